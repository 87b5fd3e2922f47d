import { transpose, UsageError, weight } from "@tastemaker/tensor";

import { Checkpoint } from "../files/weights.ts";
import type { ClipConfig } from "./clip.ts";
import type { ClipTowerConfig } from "./clip-encoder.ts";
import { type Scope, scopeOf } from "./scope.ts";

/** What the weights of an OpenAI or open_clip file do not tell. */
export interface OpenClipChoices {
  /** `quick_gelu` for OpenAI's own models, `gelu` for most of open_clip's. */
  readonly activation: ClipTowerConfig["activation"];
  /** Attention heads; default: the published architecture of this width. */
  readonly visionHeads?: number;
  readonly textHeads?: number;
  /** Of the layer norms; default 1e-5. */
  readonly visionEps?: number;
  /** Default 1e-5. */
  readonly textEps?: number;
  /** Side of the input; default: whole patches. It may be up to a patch larger than that, and its last pixels then count for nothing. */
  readonly imageSize?: number;
}

/** A CLIP read from a file with OpenAI's names (also open_clip's and HPSv2's). */
export interface OpenClip {
  readonly config: ClipConfig;
  /** Frozen weights under the names of a transformers `CLIPModel`, mapped in place. */
  scope(): Scope;
}

const layer: Readonly<Record<string, string>> = {
  ln_1: "layer_norm1",
  ln_2: "layer_norm2",
  "attn.out_proj": "self_attn.out_proj",
  "mlp.c_fc": "mlp.fc1",
  "mlp.c_proj": "mlp.fc2",
};

const single: Readonly<Record<string, string>> = {
  "visual.class_embedding": "vision_model.embeddings.class_embedding",
  "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
  "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
  "visual.proj": "visual_projection.weight",
  "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
  positional_embedding: "text_model.embeddings.position_embedding.weight",
  text_projection: "text_projection.weight",
  logit_scale: "logit_scale",
};

const norms: Readonly<Record<string, string>> = {
  "visual.ln_pre": "vision_model.pre_layrnorm",
  "visual.ln_post": "vision_model.post_layernorm",
  ln_final: "text_model.final_layer_norm",
};

/** Buffers that say nothing the shapes do not say. */
const ignored: readonly string[] = ["input_resolution", "context_length", "vocab_size", "attn_mask"];

/** Stored as matrices for `x @ P`; a linear layer holds the transpose. */
const transposed: readonly string[] = ["visual_projection.weight", "text_projection.weight"];

/** A transformers name for a name of OpenAI's, or undefined for a buffer to leave out. @throws UsageError `open-clip-key` */
function transformersKey(key: string, where: string): string | undefined {
  if (ignored.includes(key)) return undefined;
  const whole = single[key];
  if (whole !== undefined) return whole;
  const block = /^(visual\.)?transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)$/.exec(key);
  const inner = block === null ? undefined : block[3] === "attn.in_proj" ? "self_attn.in_proj" : layer[block[3]!];
  if (block !== null && inner !== undefined) return `${block[1] === undefined ? "text_model" : "vision_model"}.encoder.layers.${block[2]}.${inner}.${block[4]}`;
  const norm = /^(.+)\.(weight|bias)$/.exec(key);
  const named = norm === null ? undefined : norms[norm[1]!];
  if (norm !== null && named !== undefined) return `${named}.${norm[2]}`;
  throw new UsageError("open-clip-key", `CLIP: expected the names of OpenAI's CLIP, got "${key}" (at ${where})`, "only CLIP with a vision transformer is computed");
}

/** Whether a file's names are OpenAI's, perhaps below `state_dict.` or `module.`. */
export function isOpenClip(weights: Checkpoint): boolean {
  return weights.keys().some((key) => /^(?:state_dict\.)?(?:module\.)?visual\.conv1\.weight$/.test(key));
}

const architectureHint = 'put a config.json beside the file: {"activation": "gelu", "vision": {"heads": N}, "text": {"heads": N}}';

/** @throws UsageError `open-clip-heads` */
function dividing(heads: number, width: number, where: string): number {
  if (width % heads === 0) return heads;
  throw new UsageError("open-clip-heads", `CLIP: expected a number of heads that divides the width ${width}, got ${heads} (at ${where})`, architectureHint);
}

/**
 * Attention heads of the published models: 64 numbers per head, but 16 heads in the large vision towers (ViT-H 1280, ViT-g 1408, ViT-bigG 1664, ViT-e 1792).
 * @throws UsageError `open-clip-heads`
 */
function usualHeads(name: string, width: number, where: string): number {
  const isLarge = name === "vision_model" && [1280, 1408, 1664, 1792].includes(width);
  const heads = isLarge ? 16 : width / 64;
  if (Number.isInteger(heads)) return heads;
  throw new UsageError("open-clip-heads", `CLIP: expected a published width (a multiple of 64), got ${width} (at ${where})`, architectureHint);
}

/**
 * Reads the architecture off a file's shapes and gives the tensors transformers' names, in place: the fused query-key-value matrices are cut by rows, the projections are
 * transposed where they are used.
 *
 * @throws UsageError `open-clip-key`, `open-clip-heads`, `open-clip-size`, `weight-missing`, `weight-shape`
 */
export function openClip(file: Checkpoint, choices: OpenClipChoices): OpenClip {
  const { where } = file;
  // What a training checkpoint holds beside its state_dict (the optimiser's averages, say) is no weight.
  const isNested = file.keys().some((key) => key.startsWith("state_dict."));
  const weights = file
    .renamed((key) => (isNested && !key.startsWith("state_dict.") ? undefined : transformersKey(key.replace(/^state_dict\./, "").replace(/^module\./, ""), where)))
    .cut((key) => {
      const fused = /^(.+\.self_attn)\.in_proj\.(weight|bias)$/.exec(key);
      return fused === null ? undefined : ["q_proj", "k_proj", "v_proj"].map((part) => `${fused[1]}.${part}.${fused[2]}`);
    });
  const shape = (key: string, length: number): readonly number[] => {
    const found = weights.shapeOf(key);
    if (found?.length === length) return found;
    throw new UsageError("weight-missing", `weight ${key}: expected a tensor with ${length} axes, got ${found === undefined ? "none" : `[${found.join(", ")}]`} (at ${where})`, "the file is no CLIP with a vision transformer");
  };
  const tower = (name: string, width: number, heads: number | undefined, eps: number = 1e-5): ClipTowerConfig => ({
    width,
    inner: shape(`${name}.encoder.layers.0.mlp.fc1.weight`, 2)[0]!,
    layers: new Set(weights.keys().flatMap((key) => new RegExp(`^${name}\\.encoder\\.layers\\.(\\d+)\\.`).exec(key)?.[1] ?? [])).size,
    heads: heads === undefined ? usualHeads(name, width, where) : dividing(heads, width, where),
    activation: choices.activation,
    eps,
  });
  const [visionWidth, , patchSize] = shape("vision_model.embeddings.patch_embedding.weight", 4) as readonly [number, number, number, number];
  const [places] = shape("vision_model.embeddings.position_embedding.weight", 2) as readonly [number, number];
  const grid = Math.round(Math.sqrt(places - 1));
  const imageSize = choices.imageSize ?? grid * patchSize;
  if (Math.floor(imageSize / patchSize) !== grid) {
    throw new UsageError("open-clip-size", `CLIP: expected pictures of ${grid * patchSize} pixels, ${grid} patches of ${patchSize} on a side, got ${imageSize} (at ${where})`, "vision.image_size of the config.json beside the file belongs to another model");
  }
  const [vocabulary, textWidth] = shape("text_model.embeddings.token_embedding.weight", 2) as readonly [number, number];
  const config: ClipConfig = {
    vision: { ...tower("vision_model", visionWidth, choices.visionHeads, choices.visionEps), imageSize, patchSize },
    text: {
      ...tower("text_model", textWidth, choices.textHeads, choices.textEps),
      vocabulary,
      positions: shape("text_model.embeddings.position_embedding.weight", 2)[0]!,
      // Pool at the largest id, as OpenAI's code does.
      eosTokenId: 2,
    },
    projection: shape("visual_projection.weight", 2)[1]!,
    logitScaleInit: 2.6592,
  };
  return {
    config,
    scope: () =>
      scopeOf((key, wanted) => {
        if (!transposed.includes(key)) return weight(weights.take(key, wanted));
        return transpose(weight(weights.take(key, wanted.toReversed())), [1, 0]);
      }),
  };
}
