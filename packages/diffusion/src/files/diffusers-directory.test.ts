import { readFileSync, readdirSync } from "node:fs";
import { UsageError } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { encodeTorchZip } from "../testing/torch-zip.ts";
import { openDiffusersDirectory, openSingleFileModel, type DiffusersModel } from "./diffusers-directory.ts";
import { memoryFile, memoryFolder, type Folder } from "./random-access-file.ts";
import { readTensor, readTensorFloat32 } from "./safetensors.ts";
import type { TensorToStore } from "./safetensors-writer.ts";
import { loadCheckpoint, type Checkpoint } from "./weights.ts";
import { encodeDiffusersDirectory, type ComponentToWrite } from "./write-diffusers-directory.ts";

const models = sharedPath("golden/diffusion/models");

function filesOf(name: string): Map<string, Uint8Array> {
  const entries = readdirSync(`${models}/${name}`, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(entries.map((entry) => [`${entry.parentPath}/${entry.name}`.slice(`${models}/${name}/`.length), readFileSync(`${entry.parentPath}/${entry.name}`)]));
}
const folderOf = (name: string, change: (files: Map<string, Uint8Array>) => void = () => undefined): Folder => {
  const files = filesOf(name);
  change(files);
  return memoryFolder(`/models/${name}`, files);
};
const text = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

async function tensorsOf(checkpoint: Checkpoint): Promise<Map<string, TensorToStore>> {
  const out = new Map<string, TensorToStore>();
  for (const key of checkpoint.keys()) {
    const { file, entry } = checkpoint.entry(key);
    out.set(key, { dtype: entry.dtype, shape: entry.shape, data: await readTensor(file, entry) } as TensorToStore);
  }
  return out;
}

describe.skipIf(models === undefined)("openDiffusersDirectory", () => {
  it("opens a consistency model and a diffusion model", async () => {
    const lcm = await openDiffusersDirectory(folderOf("tiny-lcm"));
    expect([lcm.pipeline, lcm.scheduler.className, lcm.scheduler.setAlphaToOne, lcm.tokenizer.maxLength]).toEqual(["LatentConsistencyModelPipeline", "LCMScheduler", true, 20]);
    expect(lcm.unet.config["time_cond_proj_dim"]).toBe(32);
    expect(lcm.textEncoder.weights.keys()).toContain("embeddings.position_embedding.weight");
    expect(lcm.textEncoder.weights.has("embeddings.position_ids")).toBe(false);
    const sd = await openDiffusersDirectory(folderOf("tiny-sd"));
    expect([sd.pipeline, sd.scheduler.className, sd.scheduler.setAlphaToOne, sd.scheduler.stepsOffset]).toEqual(["StableDiffusionPipeline", "DDIMScheduler", false, 1]);
    expect(sd.textEncoder.weights.keys()).toContain("embeddings.position_embedding.weight");
  });

  it("finds float16 files, and renames the attention of an old VAE", async () => {
    const old = await openDiffusersDirectory(folderOf("tiny-lcm-fp16-oldvae"));
    const current = await openDiffusersDirectory(folderOf("tiny-lcm"));
    for (const part of ["unet", "vae", "textEncoder"] as const) {
      expect(old[part].weights.keys().sort()).toEqual(current[part].weights.keys().sort());
      for (const key of current[part].weights.keys()) expect(old[part].weights.take(key, current[part].weights.shapeOf(key)!).dtype).toBe("F16");
    }
    await expect(openDiffusersDirectory(folderOf("tiny-lcm"), { variant: "fp16" })).resolves.toBeDefined();
  });

  it("opens a single-file checkpoint with the configuration of a directory; the weights are the same", async () => {
    const file = memoryFile("tiny-sd-fp16.safetensors", readFileSync(`${models}/tiny-sd-fp16.safetensors`));
    const single = await openSingleFileModel(file, folderOf("tiny-sd"));
    const directory = await openDiffusersDirectory(folderOf("tiny-sd"));
    for (const part of ["unet", "vae", "textEncoder"] as const) {
      for (const key of directory[part].weights.keys()) {
        const a = directory[part].weights.entry(key);
        const b = single[part].weights.entry(key);
        const [exact, half] = [await readTensorFloat32(a.file, a.entry), await readTensorFloat32(b.file, b.entry)];
        const largest = exact.reduce((m, value) => Math.max(m, Math.abs(value)), 0);
        expect(half.length).toBe(exact.length);
        const worst = exact.reduce((m, value, i) => Math.max(m, Math.abs(half[i]! - value)), 0);
        expect(worst, key).toBeLessThanOrEqual(largest * 2 ** -11);
      }
    }
    const all = [...(await tensorsOf(await loadCheckpoint([file])))];
    const nested = new Map(all.filter(([, { data }]) => data instanceof Float32Array).map(([key, tensor]) => [`state_dict.${key}`, tensor]));
    const ckpt = await openSingleFileModel(memoryFile("/model.ckpt", encodeTorchZip(nested)), folderOf("tiny-sd"));
    expect(ckpt.unet.weights.keys()).toEqual(single.unet.weights.keys());
    await expect(openSingleFileModel(await folderOf("tiny-sd").open("unet/diffusion_pytorch_model.safetensors"), folderOf("tiny-sd"))).rejects.toThrow(/model\.diffusion_model/);
  });

  it("opens sharded weights", async () => {
    const whole = await openDiffusersDirectory(folderOf("tiny-sd"));
    const sharded = await openDiffusersDirectory(
      folderOf("tiny-sd", (files) => {
        files.set("unet/diffusion_pytorch_model-00001-of-00001.safetensors", files.get("unet/diffusion_pytorch_model.safetensors")!);
        files.delete("unet/diffusion_pytorch_model.safetensors");
        files.set("unet/diffusion_pytorch_model.safetensors.index.json", text({ weight_map: { "conv_in.weight": "diffusion_pytorch_model-00001-of-00001.safetensors" } }));
      }),
    );
    expect(sharded.unet.weights.keys()).toEqual(whole.unet.weights.keys());
  });

  it("opens PyTorch's .bin files where there are no safetensors, with the same numbers", async () => {
    const original = await openDiffusersDirectory(folderOf("tiny-sd"));
    const tensors = await tensorsOf(original.unet.weights);
    const pickled = await openDiffusersDirectory(
      folderOf("tiny-sd", (files) => {
        files.delete("unet/diffusion_pytorch_model.safetensors");
        files.set("unet/diffusion_pytorch_model.bin", encodeTorchZip(tensors));
      }),
    );
    expect(await tensorsOf(pickled.unet.weights)).toEqual(tensors);
    const key = original.unet.weights.keys()[0]!;
    expect(pickled.unet.weights.take(key, tensors.get(key)!.shape)).toMatchObject({ dtype: "F32", file: expect.stringContaining(".bin") as string });
  });

  it("reads back what encodeDiffusersDirectory wrote", async () => {
    const original = await openDiffusersDirectory(folderOf("tiny-lcm"));
    const component = async (part: "unet" | "vae" | "textEncoder"): Promise<ComponentToWrite> => ({ config: original[part].config, tensors: await tensorsOf(original[part].weights) });
    const write = async (model: DiffusersModel): Promise<Map<string, Uint8Array>> =>
      encodeDiffusersDirectory({
        pipeline: model.pipeline,
        unet: await component("unet"),
        vae: await component("vae"),
        textEncoder: await component("textEncoder"),
        scheduler: model.schedulerConfig,
        tokenizerFiles: new Map([...filesOf("tiny-lcm")].filter(([path]) => path.startsWith("tokenizer/")).map(([path, bytes]) => [path.slice("tokenizer/".length), bytes])),
      });
    const files = await write(original);
    const again = await openDiffusersDirectory(memoryFolder("/again", files));
    for (const part of ["unet", "vae", "textEncoder"] as const) {
      expect(again[part].config).toEqual(original[part].config);
      expect(await tensorsOf(again[part].weights)).toEqual(await tensorsOf(original[part].weights));
    }
    expect(again.schedulerConfig).toEqual(original.schedulerConfig);
    expect(again.tokenizer.encode(["a cat"]).ids).toEqual(original.tokenizer.encode(["a cat"]).ids);
    expect(Buffer.compare(files.get("unet/diffusion_pytorch_model.safetensors")!, (await write(again)).get("unet/diffusion_pytorch_model.safetensors")!)).toBe(0);
  });

  it.each<[string, (files: Map<string, Uint8Array>) => void, RegExp]>([
    ["no model_index.json", (files) => files.delete("model_index.json"), /expected a diffusers directory with model_index\.json/],
    ["a missing configuration", (files) => files.delete("unet/config.json"), /unet\/config\.json/],
    ["a broken configuration", (files) => files.set("vae/config.json", text([])), /expected an object.*vae\/config\.json/],
    ["weights in no known format", (files) => {
      files.delete("unet/diffusion_pytorch_model.safetensors");
      files.set("unet/diffusion_pytorch_model.bin", new Uint8Array(1));
    }, /expected a zip archive or a pickle, got .*unet\/diffusion_pytorch_model\.bin/],
    ["no weights", (files) => files.delete("unet/diffusion_pytorch_model.safetensors"), /expected one of unet\/diffusion_pytorch_model\.safetensors, .*got none/],
    ["SDXL's second text encoder", (files) => files.set("model_index.json", text({ ...JSON.parse(new TextDecoder().decode(files.get("model_index.json"))), text_encoder_2: ["transformers", "CLIPTextModelWithProjection"] })), /got text_encoder_2/],
    ["another network", (files) => files.set("model_index.json", text({ unet: ["diffusers", "SD3Transformer2DModel"] })), /model unet: expected UNet2DConditionModel/],
    ["a shard name that leaves the folder", (files) => {
      files.delete("unet/diffusion_pytorch_model.safetensors");
      files.set("unet/diffusion_pytorch_model.safetensors.index.json", text({ weight_map: { a: "../../x.safetensors" } }));
    }, /expected names of \.safetensors shards/],
  ])("refuses %s", async (_, change, message) => {
    const failure = openDiffusersDirectory(folderOf("tiny-sd", change));
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toBeInstanceOf(UsageError);
  });
});
