import { readFileSync } from "node:fs";
import { UsageError } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { memoryFile } from "./random-access-file.ts";
import { isSingleFileCheckpoint, splitSingleFile } from "./single-file.ts";
import { encodeSafetensors, type TensorToStore } from "./safetensors-writer.ts";
import { loadCheckpoint, renameOldVaeAttention, renameTextEncoder, type Checkpoint } from "./weights.ts";

const models = sharedPath("golden/diffusion/models");
const load = (path: string): Promise<Checkpoint> => loadCheckpoint([memoryFile(path, readFileSync(`${models}/${path}`))]);
const keysOnly = async (keys: readonly string[]): Promise<Checkpoint> => {
  const tensor: TensorToStore = { dtype: "F32", shape: [0], data: new Float32Array(0) };
  return loadCheckpoint([memoryFile("keys", encodeSafetensors(new Map(keys.map((key) => [key, tensor]))))]);
};
/** Inverse of the published naming for a U-Net with the given levels, written independently of the mapping under test. */
function originalUnetKeys(levels: number, layers: number, hasAttention: readonly boolean[]): [original: string, diffusers: string][] {
  const out: [string, string][] = [];
  let block = 1;
  for (let level = 0; level < levels; level++) {
    for (let layer = 0; layer < layers; layer++, block++) {
      out.push([`input_blocks.${block}.0.in_layers.2.weight`, `down_blocks.${level}.resnets.${layer}.conv1.weight`]);
      if (hasAttention[level]) out.push([`input_blocks.${block}.1.proj_in.weight`, `down_blocks.${level}.attentions.${layer}.proj_in.weight`]);
    }
    if (level < levels - 1) out.push([`input_blocks.${block++}.0.op.weight`, `down_blocks.${level}.downsamplers.0.conv.weight`]);
  }
  block = 0;
  for (let level = 0; level < levels; level++) {
    const attention = hasAttention[levels - 1 - level]!;
    for (let layer = 0; layer <= layers; layer++, block++) {
      out.push([`output_blocks.${block}.0.in_layers.2.weight`, `up_blocks.${level}.resnets.${layer}.conv1.weight`]);
      if (attention) out.push([`output_blocks.${block}.1.proj_in.weight`, `up_blocks.${level}.attentions.${layer}.proj_in.weight`]);
      if (layer === layers && level < levels - 1) out.push([`output_blocks.${block}.${attention ? 2 : 1}.conv.weight`, `up_blocks.${level}.upsamplers.0.conv.weight`]);
    }
  }
  return out;
}

describe("splitSingleFile", () => {
  it.skipIf(models === undefined)("gives the keys and shapes of the diffusers directory, every key mapped", async () => {
    const single = await load("tiny-sd-fp16.safetensors");
    expect(isSingleFileCheckpoint(single)).toBe(true);
    const split = splitSingleFile(single);
    const directory = {
      unet: await load("tiny-sd/unet/diffusion_pytorch_model.safetensors"),
      vae: await load("tiny-sd/vae/diffusion_pytorch_model.safetensors"),
      textEncoder: (await load("tiny-sd/text_encoder/model.safetensors")).renamed(renameTextEncoder),
    };
    let taken = 0;
    for (const name of ["unet", "vae", "textEncoder"] as const) {
      expect(split[name].keys().sort()).toEqual(directory[name].keys().sort());
      for (const key of directory[name].keys()) {
        expect(split[name].take(key, directory[name].shapeOf(key)!).dtype).toBe("F16");
        taken++;
      }
      split[name].assertAllUsed();
    }
    // All but alphas_cumprod and position_ids.
    expect(taken).toBe(single.keys().length - 2);
  });

  it.each([[4, 2, [true, true, true, false]], [3, 1, [false, true, true]], [2, 3, [true, false]], [1, 1, [true]]] as const)("maps U-Nets of %i levels with %i layers", async (levels, layers, attention) => {
    const pairs = originalUnetKeys(levels, layers, attention);
    const outer = ["first_stage_model.quant_conv.weight", "cond_stage_model.transformer.text_model.final_layer_norm.bias", "model.diffusion_model.time_embed.cond_proj.weight", "posterior_mean_coef1", "sqrt_recipm1_alphas_cumprod", "model_ema.decay"];
    const checkpoint = await keysOnly([...pairs.map(([original]) => `model.diffusion_model.${original}`), ...outer]);
    const expected = [...pairs.map(([, diffusers]) => diffusers), "time_embedding.cond_proj.weight"];
    expect(splitSingleFile(checkpoint).unet.keys().sort()).toEqual(expected.sort());
  });

  it("names the first key of a model of another family", async () => {
    const sdxl = await keysOnly(["conditioner.embedders.0.x", "model.diffusion_model.label_emb.0.0.weight"]);
    expect(() => splitSingleFile(sdxl)).toThrow(/expected the keys of a Stable Diffusion 1.x model, got "conditioner/);
    const labelled = await keysOnly(["model.diffusion_model.label_emb.0.0.weight"]);
    expect(() => splitSingleFile(labelled)).toThrow(UsageError);
  });
});

describe.skipIf(models === undefined)("Checkpoint", () => {
  it("renames the attention of old VAEs in place", async () => {
    const old = await load("tiny-lcm-fp16-oldvae/vae/diffusion_pytorch_model.fp16.safetensors");
    const current = await load("tiny-lcm/vae/diffusion_pytorch_model.safetensors");
    expect(old.renamed(renameOldVaeAttention).keys().sort()).toEqual(current.keys().sort());
    expect(current.renamed(renameOldVaeAttention).keys()).toEqual(current.keys());
  });

  it("names key, shapes and file when a weight is missing, misshapen or unused", async () => {
    const vae = await load("tiny-lcm/vae/diffusion_pytorch_model.safetensors");
    expect(() => vae.take("decoder.conv_inn.weight", [1])).toThrow(/decoder\.conv_inn\.weight.*\[1\].*tiny-lcm\/vae.*nearest stored key is "decoder\.conv_in\.weight"/);
    expect(() => vae.take("decoder.conv_in.weight", [2, 4, 3, 3])).toThrow(/expected shape \[2, 4, 3, 3\], got \[16, 4, 3, 3\] \(at tiny-lcm/);
    vae.take("decoder.conv_in.weight", [16, 4, 3, 3]);
    expect(() => vae.assertAllUsed([/^encoder/])).toThrow(/unused: decoder/);
    expect(vae.unused([/./])).toEqual([]);
    const text = await load("tiny-lcm/text_encoder/model.safetensors");
    expect(() => text.take("text_model.embeddings.position_ids", [1, 20])).toThrow(/expected F32, F16 or BF16, got I64/);
  });

  it("refuses the same key in two files", async () => {
    const file = memoryFile("twice", readFileSync(`${models}/tiny-lcm/text_encoder/model.safetensors`));
    await expect(loadCheckpoint([file, file])).rejects.toThrow(/expected it once/);
  });
});
