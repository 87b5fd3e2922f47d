import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeSafetensors, type TensorToStore } from "@tastemaker/diffusion";
import { normal } from "@tastemaker/tensor";

/** Tensors of a checkpoint under its own names. */
export type TinyWeights = Map<string, TensorToStore>;

/** Collects tensors of random values; a norm's weights lie around one. */
function collector(seed: number): { readonly weights: TinyWeights; readonly add: (key: string, ...shape: number[]) => void } {
  const weights: TinyWeights = new Map();
  return {
    weights,
    add: (key, ...shape) => {
      const count = shape.reduce((product, size) => product * size, 1);
      const isNorm = /(?:norm\d?|LayerNorm|ln_\w+)\.weight$/.test(key);
      const spread = isNorm || shape.length === 1 ? 0.2 : 1 / Math.sqrt(shape.at(-1)!);
      weights.set(key, { dtype: "F32", shape, data: Float32Array.from(normal({ seed, stream: key, indices: [] }, count), (value) => (isNorm ? 1 : 0) + spread * value) });
    },
  };
}

/** BLIP under its own names: patches of 4 pixels, a position table for `grid` × `grid` of them, one layer in each tower. */
export function tinyBlipWeights(seed: number, grid: number, isImageReward: boolean = false): TinyWeights {
  const [width, hidden, vocabulary] = [8, 6, 9];
  const { weights, add } = collector(seed);
  const prefix = isImageReward ? "blip." : "";
  const layer = (key: string, out: number, inner: number): void => {
    add(`${prefix}${key}.weight`, out, inner);
    add(`${prefix}${key}.bias`, out);
  };
  const norm = (key: string, size: number): void => {
    add(`${prefix}${key}.weight`, size);
    add(`${prefix}${key}.bias`, size);
  };
  const vision = "visual_encoder";
  add(`${prefix}${vision}.cls_token`, 1, 1, width);
  add(`${prefix}${vision}.pos_embed`, 1, 1 + grid ** 2, width);
  add(`${prefix}${vision}.patch_embed.proj.weight`, width, 3, 4, 4);
  add(`${prefix}${vision}.patch_embed.proj.bias`, width);
  for (const name of ["blocks.0.norm1", "blocks.0.norm2", "norm"]) norm(`${vision}.${name}`, width);
  layer(`${vision}.blocks.0.attn.qkv`, 3 * width, width);
  layer(`${vision}.blocks.0.attn.proj`, width, width);
  layer(`${vision}.blocks.0.mlp.fc1`, 2 * width, width);
  layer(`${vision}.blocks.0.mlp.fc2`, width, 2 * width);
  const text = "text_encoder";
  add(`${prefix}${text}.embeddings.word_embeddings.weight`, vocabulary, hidden);
  add(`${prefix}${text}.embeddings.position_embeddings.weight`, 35, hidden);
  norm(`${text}.embeddings.LayerNorm`, hidden);
  for (const [name, inner] of [["attention", hidden], ["crossattention", width]] as const) {
    const own = `${text}.encoder.layer.0.${name}`;
    layer(`${own}.self.query`, hidden, hidden);
    layer(`${own}.self.key`, hidden, inner);
    layer(`${own}.self.value`, hidden, inner);
    layer(`${own}.output.dense`, hidden, hidden);
    norm(`${own}.output.LayerNorm`, hidden);
  }
  layer(`${text}.encoder.layer.0.intermediate.dense`, 12, hidden);
  layer(`${text}.encoder.layer.0.output.dense`, hidden, 12);
  norm(`${text}.encoder.layer.0.output.LayerNorm`, hidden);
  layer("vision_proj", 5, width);
  layer("text_proj", 5, hidden);
  if (isImageReward) {
    add("mlp.layers.0.weight", 1, hidden);
    add("mlp.layers.0.bias", 1);
  }
  return weights;
}

/** CLIP under OpenAI's names: patches of 4 pixels on a 2 × 2 grid, one layer in each tower, no merges in its vocabulary. */
export function tinyOpenClipWeights(seed: number, positions: number = 77): TinyWeights {
  const [width, text] = [8, 6];
  const { weights, add } = collector(seed);
  const block = (key: string, size: number): void => {
    for (const name of ["ln_1", "ln_2"]) for (const kind of ["weight", "bias"]) add(`${key}.${name}.${kind}`, size);
    add(`${key}.attn.in_proj_weight`, 3 * size, size);
    add(`${key}.attn.in_proj_bias`, 3 * size);
    for (const [name, out, inner] of [["attn.out_proj", size, size], ["mlp.c_fc", 2 * size, size], ["mlp.c_proj", size, 2 * size]] as const) {
      add(`${key}.${name}.weight`, out, inner);
      add(`${key}.${name}.bias`, out);
    }
  };
  add("visual.class_embedding", width);
  add("visual.positional_embedding", 5, width);
  add("visual.conv1.weight", width, 3, 4, 4);
  add("visual.proj", width, 5);
  block("visual.transformer.resblocks.0", width);
  add("token_embedding.weight", 514, text);
  add("positional_embedding", positions, text);
  add("text_projection", text, 5);
  add("logit_scale");
  block("transformer.resblocks.0", text);
  for (const [name, size] of [["visual.ln_pre", width], ["visual.ln_post", width], ["ln_final", text]] as const) for (const kind of ["weight", "bias"]) add(`${name}.${kind}`, size);
  return weights;
}

const vocabularies = { "vocab.txt": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"].join("\n"), "bpe.txt": "#version: 0.2" };

/** Writes `model.safetensors`, `config.json` (heads: two in each tower, besides what `config` says) and the vocabularies into a folder. */
export async function writeTinyReward(folder: string, weights: TinyWeights, config: { readonly vision?: object; readonly text?: object } = {}): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "model.safetensors"), encodeSafetensors(weights));
  await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, vision: { heads: 2, ...config.vision }, text: { heads: 2, ...config.text } }));
  for (const [name, text] of Object.entries(vocabularies)) await writeFile(join(folder, name), text);
}
