import { readFileSync } from "node:fs";
import { UsageError } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { memoryFile, type RandomAccessFile } from "../files/random-access-file.ts";
import { readSafetensorsHeader } from "../files/safetensors.ts";
import { encodeSafetensors, type TensorToStore } from "../files/safetensors-writer.ts";
import type { LoraTarget } from "../models/lora.ts";
import { encodeLora, foldScale, readLora, type LoraModuleWeights, type LoraWeights } from "./lora-files.ts";

const root = sharedPath("golden/diffusion");
const open = (path: string): RandomAccessFile => memoryFile(path, readFileSync(`${root}/${path}`));

/** The attention layers of a golden U-Net, read from its weights. */
async function layersOf(model: string): Promise<LoraTarget[]> {
  const { tensors } = await readSafetensorsHeader(open(`models/${model}/unet/diffusion_pytorch_model.safetensors`));
  return [...tensors].flatMap(([key, { shape }]) => {
    const module = /^(.*\.(?:to_q|to_k|to_v|to_out\.0))\.weight$/.exec(key)?.[1];
    return module === undefined ? [] : [{ module, in: shape[1]!, out: shape[0]! }];
  });
}

/** scale·up·down, `[out, in]`. */
function update({ rank, in: width, out, down, up, scale }: LoraModuleWeights): number[] {
  return Array.from({ length: out * width }, (_, index) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += up[Math.floor(index / width) * rank + k]! * down[k * width + (index % width)]!;
    return scale * sum;
  });
}

const lora = (rank: number, width: number, out: number, scale: number, seed: number): LoraModuleWeights => ({
  rank,
  in: width,
  out,
  down: Float32Array.from({ length: rank * width }, (_, i) => Math.sin(seed + i)),
  up: Float32Array.from({ length: out * rank }, (_, i) => Math.cos(seed * 2 + i)),
  scale,
});
const file = (tensors: Record<string, number[]>, metadata?: Record<string, unknown>): RandomAccessFile =>
  memoryFile(
    "adapter.safetensors",
    encodeSafetensors(
      new Map(Object.entries(tensors).map(([key, shape]): [string, TensorToStore] => [key, { dtype: "F32", shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(2) }])),
      metadata === undefined ? undefined : new Map([["lora_adapter_metadata", JSON.stringify(metadata)]]),
    ),
  );
const layers: LoraTarget[] = [
  { module: "mid.attn1.to_q", in: 3, out: 5 },
  { module: "mid.attn1.to_out.0", in: 4, out: 4 },
];

describe.skipIf(root === undefined)("readLora on files of other software", () => {
  for (const [model, styles] of [
    ["tiny-lcm", ["peft-metadata", "folded", "folded-metadata", "kohya", "diffusers-up-down", "processor"]],
    ["tiny-sd", ["peft-metadata", "folded", "kohya"]],
  ] as const) {
    for (const style of styles) {
      it(`${model} ${style} has the effect of the original adapter`, async () => {
        const targets = await layersOf(model);
        const original = await readLora(open(`lora/${model}.peft.safetensors`), targets);
        const read = await readLora(open(`lora-export/${model}/${style}/pytorch_lora_weights.safetensors`), targets);
        expect(original.modules.size).toBe(targets.length);
        expect([...read.modules.keys()]).toEqual([...original.modules.keys()]);
        for (const [module, weights] of original.modules) {
          expect([weights.rank, weights.scale]).toEqual([4, 2]);
          const expected = update(weights);
          const largest = Math.max(...expected.map(Math.abs));
          expect(largest).toBeGreaterThan(0);
          const actual = update(read.modules.get(module)!);
          for (const [i, value] of expected.entries()) expect(Math.abs(actual[i]! - value)).toBeLessThan(1e-6 * largest);
        }
      });
    }

    it(`${model}: what encodeLora writes reads back as the folded adapter, bit for bit`, async () => {
      const targets = await layersOf(model);
      const original = await readLora(open(`lora/${model}.peft.safetensors`), targets);
      const bytes = encodeLora(original);
      const again = await readLora(memoryFile("again", bytes), targets);
      expect(again).toEqual(foldScale(original));
      expect(Buffer.compare(encodeLora(again), bytes)).toBe(0);
      const folded = await readLora(open(`lora-export/${model}/folded/pytorch_lora_weights.safetensors`), targets);
      expect(again).toEqual(folded);
    });
  }

  it("an adapter of another model names the first module and both shapes", async () => {
    const targets = await layersOf("tiny-sd");
    await expect(readLora(open("lora/tiny-lcm.peft.safetensors"), targets)).rejects.toThrow(
      /adapter down_blocks\.0\.attentions\.1\.\S+: expected a module of this model, got one it lacks, of shape \[4, 12\]/,
    );
    const sameNames = (await layersOf("tiny-lcm")).map((layer) => ({ ...layer, in: layer.in + 1 }));
    await expect(readLora(open("lora/tiny-lcm.peft.safetensors"), sameNames)).rejects.toThrow(/expected down \[rank, 13\] and up \[12, rank\], got \[4, 12\] and \[12, 4\]/);
  });
});

describe("readLora", () => {
  it("reads PEFT's own files with adapter_config.json, patterns and rank-stabilised scale", async () => {
    const tensors = {
      "base_model.model.mid.attn1.to_q.lora_A.weight": [2, 3],
      "base_model.model.mid.attn1.to_q.lora_B.weight": [5, 2],
      "base_model.model.mid.attn1.to_out.0.lora_A.weight": [4, 4],
      "base_model.model.mid.attn1.to_out.0.lora_B.weight": [4, 4],
    };
    const config = { r: 2, lora_alpha: 6, rank_pattern: { "to_out.0": 4 }, alpha_pattern: { "^mid.attn1.to_out.0": 2 } };
    const read = await readLora(file(tensors), layers, config);
    expect([...read.modules.values()].map(({ scale }) => scale)).toEqual([3, 0.5]);
    const stabilised = await readLora(file(tensors), layers, { ...config, use_rslora: true });
    expect(stabilised.modules.get("mid.attn1.to_out.0")!.scale).toBe(1);
    await expect(readLora(file(tensors), layers, { ...config, rank_pattern: {} })).rejects.toThrow(/expected rank 2 as its configuration says, got 4/);
    await expect(readLora(file(tensors), layers, { ...config, use_dora: true })).rejects.toThrow(/use_dora/);
    await expect(readLora(file(tensors), layers, { ...config, alpha_pattern: { ".*to_q": 1 } })).rejects.toThrow(/alpha_pattern/);
  });

  it("keeps mixed ranks through export and import", async () => {
    const weights: LoraWeights = { modules: new Map([["mid.attn1.to_q", lora(2, 3, 5, 0.5, 1)], ["mid.attn1.to_out.0", lora(1, 4, 4, 3, 2)]]) };
    expect(await readLora(memoryFile("mixed", encodeLora(weights)), layers)).toEqual(foldScale(weights));
  });

  it("reads 1×1 convolutions as matrices", async () => {
    const read = await readLora(file({ "lora_unet_mid_attn1_to_out_0.lora_down.weight": [1, 4, 1, 1], "lora_unet_mid_attn1_to_out_0.lora_up.weight": [4, 1, 1, 1] }), layers);
    expect(read.modules.get("mid.attn1.to_out.0")!.scale).toBe(1);
  });

  const pair = { "unet.mid.attn1.to_q.lora_A.weight": [2, 3], "unet.mid.attn1.to_q.lora_B.weight": [5, 2] };
  it.each<[string, Record<string, number[]>, RegExp]>([
    ["one matrix only", { "unet.mid.attn1.to_q.lora_A.weight": [2, 3] }, /expected a down and an up matrix, got only down/],
    ["two ranks in one module", { ...pair, "unet.mid.attn1.to_q.lora_B.weight": [5, 1] }, /expected down \[rank, 3\]/],
    ["rank 0", { "unet.mid.attn1.to_q.lora_A.weight": [0, 3], "unet.mid.attn1.to_q.lora_B.weight": [5, 0] }, /expected down \[rank, 3\]/],
    ["the same module twice", { ...pair, "unet.mid.attn1.to_q.lora.down.weight": [2, 3] }, /expected one down tensor/],
    ["a text encoder", { ...pair, "text_encoder.x.lora_A.weight": [2, 3] }, /expected tensors of a U-Net only/],
    ["DoRA", { ...pair, "unet.mid.attn1.to_q.dora_scale": [5] }, /expected a plain LoRA/],
    ["a checkpoint", { "mid.attn1.to_q.weight": [5, 3] }, /the file is not a LoRA adapter/],
    ["nothing", {}, /expected LoRA tensors, got none/],
  ])("refuses %s", async (_, tensors, message) => {
    const failure = readLora(file(tensors), layers);
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toBeInstanceOf(UsageError);
  });

  it("refuses a scale that is given twice", async () => {
    await expect(readLora(file({ ...pair, "unet.mid.attn1.to_q.alpha": [] }, { "unet.r": 2, "unet.lora_alpha": 2 }), layers)).rejects.toThrow(/expected its scale once/);
  });
});
