import { readFileSync } from "node:fs";

import { type HostTensor, type Tensor, gradients, input, mean, program, referenceBackend, square, trace } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";

import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { memoryFile } from "../files/random-access-file.ts";
import { readTensorFloat64 } from "../files/safetensors.ts";
import { type Checkpoint, loadCheckpoint } from "../files/weights.ts";
import { guidanceEmbedding, timestepEmbedding } from "../schedulers/embeddings.ts";
import { initialise } from "./initialise.ts";
import { checkLora, withLora } from "./lora.ts";
import { type Scope, scopeOf } from "./scope.ts";
import { parseUNetConfig } from "./unet-config.ts";
import { type UNetOptions, loraTargets, unet, unetParameters } from "./unet.ts";

const golden = sharedPath("golden", "diffusion");

const backend = referenceBackend(() => new Float64Array());

const SMALL = {
  block_out_channels: [4, 8],
  down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
  layers_per_block: 1,
  attention_head_dim: 2,
  cross_attention_dim: 6,
  norm_num_groups: 2,
  time_cond_proj_dim: 8,
};

async function readCheckpoint(path: string): Promise<Checkpoint> {
  return loadCheckpoint([memoryFile(path, readFileSync(path))]);
}

async function readAll(checkpoint: Checkpoint): Promise<Map<string, { shape: readonly number[]; data: Float64Array }>> {
  const result = new Map<string, { shape: readonly number[]; data: Float64Array }>();
  for (const key of checkpoint.keys()) {
    const { file, entry } = checkpoint.entry(key);
    result.set(key, { shape: entry.shape, data: await readTensorFloat64(file, entry) });
  }
  return result;
}

const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

describe("U-Net", () => {
  it("has the parameters of published models", () => {
    const count = (json: Record<string, unknown>): number =>
      unetParameters(parseUNetConfig(json)).reduce((total, { shape }) => total + shape.reduce((product, size) => product * size, 1), 0);
    expect(count({ cross_attention_dim: 768, attention_head_dim: 8 })).toBe(859_520_964);
    expect(count({ cross_attention_dim: 768, attention_head_dim: 8, time_cond_proj_dim: 256 })).toBe(859_520_964 + 256 * 320);
    expect(count({ cross_attention_dim: 1024, attention_head_dim: [5, 10, 20, 20], use_linear_projection: true })).toBe(865_910_724);
  });

  it("offers the 128 attention layers of SD 1.5 to an adapter", () => {
    const targets = loraTargets(parseUNetConfig({ cross_attention_dim: 768, attention_head_dim: 8 }));
    expect(targets).toHaveLength(128);
    expect(targets.find(({ module }) => module === "mid_block.attentions.0.transformer_blocks.0.attn2.to_k")).toEqual({
      module: "mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
      in: 768,
      out: 1280,
    });
    expect(() => checkLora(new Map([["mid_block.attentions.0.transformer_blocks.0.attn2.to_kk", { down: [4, 768], up: [1280, 4] }]]), targets)).toThrow(/did you mean/);
    expect(() => checkLora(new Map([[targets[0]!.module, { down: [4, 640], up: [320, 4] }]]), targets)).toThrow(/\[rank, 320\]/);
  });

  it("takes values as diffusers writes them: a size in two numbers, one truth value per block", () => {
    expect(parseUNetConfig({ sample_size: [8, 12] }).sampleSize).toEqual([8, 12]);
    expect(parseUNetConfig({ sample_size: 64, only_cross_attention: [false, false, false, false] }).sampleSize).toBe(64);
    expect(() => parseUNetConfig({ only_cross_attention: [false, true, false, false] })).toThrow(/only_cross_attention/);
    expect(() => parseUNetConfig({ mid_block_type: null })).toThrow(/expected "UNetMidBlock2DCrossAttn", got null \(at mid_block_type\)/);
  });

  it("names the key of a configuration it cannot compute", () => {
    expect(() => parseUNetConfig({ ...SMALL, down_block_types: ["AttnDownBlock2D", "DownBlock2D"] })).toThrow(/down_block_types.*AttnDownBlock2D/);
    expect(() => parseUNetConfig({ ...SMALL, addition_embed_type: "text_time" })).toThrow(/addition_embed_type/);
    expect(() => parseUNetConfig({ ...SMALL, brand_new_option: true })).toThrow(/brand_new_option/);
    expect(() => parseUNetConfig({ ...SMALL, attention_head_dim: 3 })).toThrow(/heads 3/);
    expect(() => parseUNetConfig({ ...SMALL, norm_num_groups: 3 })).toThrow(/norm_num_groups 3/);
    expect(() => parseUNetConfig({ ...SMALL, up_block_types: ["UpBlock2D"] })).toThrow(/up_block_types/);
    expect(() => parseUNetConfig({ ...SMALL, layers_per_block: [1, 2, 3] })).toThrow(/layers_per_block/);
    expect(parseUNetConfig({ ...SMALL, num_attention_heads: 4 }).down[0]!.heads).toBe(4);
  });

  it("demands the guidance embedding exactly when the model takes one", () => {
    const call = (json: Record<string, unknown>, cond?: Tensor): void => {
      const inputs = { sample: input("sample", [1, 4, 4, 4]), sinusoid: input("sinusoid", [1, 4]), context: input("context", [1, 3, 6]) };
      unet(scopeOf((key, shape) => input(key, shape)), parseUNetConfig(json), cond === undefined ? inputs : { ...inputs, cond });
    };
    expect(() => call(SMALL)).toThrow(/cond: expected \[B, 8\], got none/);
    expect(() => call({ ...SMALL, time_cond_proj_dim: null }, input("cond", [1, 8]))).toThrow(/cond: expected none/);
  });

  it("computes the same values and gradients when blocks are recomputed", async () => {
    const config = parseUNetConfig(SMALL);
    const values = initialise(unetParameters(config), 7);
    const run = async (options: UNetOptions): Promise<Record<string, HostTensor>> => {
      const pair = (name: string, width: number): { down: Tensor; up: Tensor } => ({ down: input(`${name}.down`, [2, width]), up: input(`${name}.up`, [width, 2]) });
      const scope = withLora(scopeOf((key, shape) => input(key, shape)), {
        targets: new Map([
          ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q", pair("lora.mid", 8)],
          ["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v", pair("lora.first", 4)],
        ]),
        scale: input("scale", [2]),
        factor: 2,
      });
      const leaves = { sample: input("sample", [2, 4, 5, 3]), sinusoid: input("sinusoid", [2, 4]), context: input("context", [2, 3, 6]), cond: input("cond", [2, 8]) };
      const out = unet(scope, config, leaves, options);
      const wanted = program({ out }).inputs.filter(({ name }) => name !== "scale");
      const slopes = gradients(mean(square(out)), wanted.map(({ tensor }) => tensor));
      const whole = program({ out, ...Object.fromEntries(wanted.map(({ name }, i) => [`grad.${name}`, slopes[i]!])) });
      const feeds: Record<string, Float64Array> = {};
      for (const { name, tensor } of whole.inputs) {
        const size = tensor.shape.reduce((product, n) => product * n, 1);
        feeds[name] = Float64Array.from(values.get(name) ?? Array.from({ length: size }, (_, i) => Math.sin(1 + i + name.length)));
      }
      return (await backend.compile(whole)).run(feeds);
    };
    const plain = await run({});
    const again = await run({ recompute: true });
    expect(Object.keys(again).sort()).toEqual(Object.keys(plain).sort());
    expect(Object.keys(plain)).toContain("grad.lora.first.down");
    for (const [name, { data }] of Object.entries(plain)) {
      expect(distance(data, again[name]!.data), name).toBeLessThan(1e-12);
      expect(data.some((x) => x !== 0), name).toBe(true);
    }
  });

  it.skipIf(golden === undefined).each(["tiny-lcm", "tiny-sd"])("adds the adapter of %s to the rows whose scale is 1 and leaves the others alone", async (model) => {
    const config = parseUNetConfig(JSON.parse(readFileSync(`${golden}/models/${model}/unet/config.json`, "utf8")) as Record<string, unknown>);
    const weights = await readAll(await readCheckpoint(`${golden}/models/${model}/unet/diffusion_pytorch_model.safetensors`));
    const adapter = await readAll(await readCheckpoint(`${golden}/lora-export/${model}/peft-metadata/pytorch_lora_weights.safetensors`));
    const given = await readAll(await readCheckpoint(`${golden}/lora-export/${model}/case/inputs.safetensors`));
    const expected = await readAll(await readCheckpoint(`${golden}/lora-export/${model}/case/expected.safetensors`));
    const targets = loraTargets(config);
    expect(adapter.size).toBe(2 * targets.length);

    const width = config.down[0]!.channels;
    const steps = [...given.get("timestep")!.data];
    const feeds: Record<string, Float64Array> = Object.fromEntries([...weights, ...adapter].map(([key, { data }]) => [key, data]));
    feeds["sample"] = given.get("x")!.data;
    feeds["context"] = given.get("context")!.data;
    feeds["sinusoid"] = Float64Array.from(steps.flatMap((t) => [...timestepEmbedding(t, width, config.flipSinToCos, config.freqShift)]));
    const cond = given.get("cond");
    if (cond !== undefined) feeds["cond"] = cond.data;
    const shapes: Record<string, { shape: readonly number[] }> = {
      sample: given.get("x")!,
      context: given.get("context")!,
      sinusoid: { shape: [steps.length, width] },
      ...(cond === undefined ? {} : { cond }),
      scale: { shape: [steps.length] },
    };
    const traced = trace(({ sample, context, sinusoid, scale, ...rest }) => {
      const base: Scope = scopeOf((key, shape) => input(key, shape));
      const pairs = targets.map(({ module, in: inner, out }) => {
        const [a, b] = [`unet.${module}.lora_A.weight`, `unet.${module}.lora_B.weight`];
        return [module, { down: input(a, [4, inner]), up: input(b, [out, 4]) }] as const;
      });
      const scope = withLora(base, { targets: new Map(pairs), scale: scale!, factor: 8 / 4 });
      return { out: unet(scope, config, { sample: sample!, context: context!, sinusoid: sinusoid!, ...(rest["cond"] === undefined ? {} : { cond: rest["cond"] }) }) };
    }, shapes);
    const executable = await backend.compile(traced);
    const [out, base] = [expected.get("out")!.data, expected.get("base")!.data];
    const half = out.length / 2;
    for (const [scale, wanted] of [
      [[1, 1], out],
      [[0, 0], base],
      [[1, 0], [...out.subarray(0, half), ...base.subarray(half)]],
    ] as const) {
      const { out: got } = await executable.run({ ...feeds, scale: Float64Array.from(scale) });
      expect(distance(got!.data, wanted)).toBeLessThan(1e-9);
    }
    expect(distance(out, base)).toBeGreaterThan(1e-3);
  });

  it("takes embeddings as long as its configuration says", () => {
    const config = parseUNetConfig(SMALL);
    expect(timestepEmbedding(999, config.down[0]!.channels)).toHaveLength(4);
    expect(guidanceEmbedding(8, config.timeCondProjDim!)).toHaveLength(8);
  });
});
