import { UsageError } from "@tastemaker/tensor";
import { renameTextEncoder, type Checkpoint } from "./weights.ts";

/** The components of a Stable Diffusion 1.x checkpoint under diffusers' keys. */
export interface ModelWeights {
  readonly unet: Checkpoint;
  readonly vae: Checkpoint;
  /** Keys without the prefix `text_model.`. */
  readonly textEncoder: Checkpoint;
}

const prefixes = {
  unet: "model.diffusion_model.",
  vae: "first_stage_model.",
  textEncoder: "cond_stage_model.transformer.",
} as const;

/** Tensors of the original trainers that no component computes with: schedules, moving averages, losses. */
const unusedKeys: readonly RegExp[] = [
  /^(alphas|betas|sqrt|log|posterior|ddim)_?[a-z0-9_]*$/,
  /^(model_ema|first_stage_model\.(loss|model_ema))\./,
  /^(lvlb_weights|logvar|scale_factor|global_step)$/,
  /^model\.diffusion_model\.(betas|alphas_cumprod)$/,
];

/** Whether the keys are those of a single-file checkpoint in the original style. */
export function isSingleFileCheckpoint(checkpoint: Checkpoint): boolean {
  return checkpoint.keys().some((key) => key.startsWith(prefixes.unet));
}

/**
 * Splits a single-file checkpoint of the SD 1.x family into its components under diffusers' keys; the tensors stay where they are.
 * Works for any number of levels and layers: the block structure is read off the keys.
 * Throws `UsageError` for a key without a place (SDXL, SD 2.x, ControlNet, …).
 */
export function splitSingleFile(checkpoint: Checkpoint): ModelWeights {
  const keys = checkpoint.keys();
  const below = (prefix: string): string[] => keys.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
  const renames = {
    unet: unetRename(below(prefixes.unet)),
    vae: vaeRename(below(prefixes.vae)),
    textEncoder: (key: string): string | undefined => renameTextEncoder(key),
  };
  for (const key of keys) {
    if (!unusedKeys.some((pattern) => pattern.test(key)) && !Object.values(prefixes).some((prefix) => key.startsWith(prefix))) throw unknownKeyError(key, checkpoint);
  }
  const component = (name: keyof typeof prefixes): Checkpoint => {
    const prefix = prefixes[name];
    const result = checkpoint.renamed((key) => {
      if (!key.startsWith(prefix) || unusedKeys.some((pattern) => pattern.test(key))) return undefined;
      const stored = key.slice(prefix.length);
      const renamed = renames[name](stored);
      if (renamed === undefined && name !== "textEncoder") throw unknownKeyError(key, checkpoint);
      return renamed;
    });
    if (result.keys().length === 0) {
      throw new UsageError("single-file-incomplete", `checkpoint: expected tensors under ${prefix}, got none (at ${checkpoint.where})`, "use a full SD 1.x checkpoint, not a part of one");
    }
    return result;
  };
  return { unet: component("unet"), vae: component("vae"), textEncoder: component("textEncoder") };
}

function unknownKeyError(key: string, checkpoint: Checkpoint): UsageError {
  return new UsageError("single-file-key", `checkpoint: expected the keys of a Stable Diffusion 1.x model, got "${key}" (at ${checkpoint.where})`, "convert the model to the diffusers layout, or use an SD 1.x checkpoint");
}

/** Replaces the first matching prefix `from` (followed by "." or the end) by `to`. */
function replacePrefix(key: string, table: Readonly<Record<string, string>>): string | undefined {
  for (const [from, to] of Object.entries(table)) if (key.startsWith(`${from}.`)) return to + key.slice(from.length);
  return undefined;
}

const unetResnet = {
  "in_layers.0": "norm1",
  "in_layers.2": "conv1",
  "emb_layers.1": "time_emb_proj",
  "out_layers.0": "norm2",
  "out_layers.3": "conv2",
  skip_connection: "conv_shortcut",
} as const;

const unetOuter = {
  "time_embed.0": "time_embedding.linear_1",
  "time_embed.2": "time_embedding.linear_2",
  "time_embed.cond_proj": "time_embedding.cond_proj",
  "time_embedding.cond_proj": "time_embedding.cond_proj",
  "input_blocks.0.0": "conv_in",
  "out.0": "conv_norm_out",
  "out.2": "conv_out",
} as const;

/**
 * The U-Net of the original code is a flat list of blocks. `input_blocks.0` is the first convolution; every other one is a resnet (part 0) with an
 * optional transformer (part 1), or a downsampler (`.0.op`), which ends a level. In `output_blocks` a level ends with the block that also has
 * an upsampler (`.1.conv` or `.2.conv`).
 */
function unetRename(keys: readonly string[]): (key: string) => string | undefined {
  const places = new Map<string, string>();
  const present = new Set(keys.map((key) => key.split(".").slice(0, 4).join(".")));
  const hasBlock = (side: string, block: number): boolean => keys.some((key) => key.startsWith(`${side}.${block}.`));
  let level = 0;
  let layer = 0;
  for (let block = 1; hasBlock("input_blocks", block); block++) {
    const source = `input_blocks.${block}`;
    if (present.has(`${source}.0.op`)) {
      places.set(`${source}.0.op`, `down_blocks.${level}.downsamplers.0.conv`);
      level++;
      layer = 0;
    } else {
      places.set(`${source}.0`, `down_blocks.${level}.resnets.${layer}`);
      places.set(`${source}.1`, `down_blocks.${level}.attentions.${layer}`);
      layer++;
    }
  }
  places.set("middle_block.0", "mid_block.resnets.0");
  places.set("middle_block.1", "mid_block.attentions.0");
  places.set("middle_block.2", "mid_block.resnets.1");
  level = 0;
  layer = 0;
  for (let block = 0; hasBlock("output_blocks", block); block++) {
    const source = `output_blocks.${block}`;
    places.set(`${source}.0`, `up_blocks.${level}.resnets.${layer}`);
    const upsampler = [1, 2].find((part) => present.has(`${source}.${part}.conv`));
    if (upsampler !== 1) places.set(`${source}.1`, `up_blocks.${level}.attentions.${layer}`);
    layer++;
    if (upsampler !== undefined) {
      places.set(`${source}.${upsampler}.conv`, `up_blocks.${level}.upsamplers.0.conv`);
      level++;
      layer = 0;
    }
  }
  return (key) => {
    const outer = replacePrefix(key, unetOuter);
    if (outer !== undefined) return outer;
    const parts = key.split(".");
    const sampler = places.get(parts.slice(0, 4).join("."));
    if (sampler !== undefined) return [sampler, ...parts.slice(4)].join(".");
    const isMiddle = parts[0] === "middle_block";
    const place = places.get(parts.slice(0, isMiddle ? 2 : 3).join("."));
    const rest = parts.slice(isMiddle ? 2 : 3).join(".");
    if (place === undefined) return undefined;
    if (place.includes("attentions")) return `${place}.${rest}`;
    const inner = replacePrefix(rest, unetResnet);
    return inner === undefined ? undefined : `${place}.${inner}`;
  };
}

const vaeAttention = { norm: "group_norm", q: "to_q", k: "to_k", v: "to_v", proj_out: "to_out.0" } as const;

/** The decoder of the original code numbers its levels from the finest (`up.0` runs last); diffusers numbers them in the order in which they run. */
function vaeRename(keys: readonly string[]): (key: string) => string | undefined {
  const upLevels = new Set(keys.map((key) => /^decoder\.up\.(\d+)\./.exec(key)?.[1]).filter((index) => index !== undefined)).size;
  const resnet = (rest: string): string => rest.replace(/^nin_shortcut\./, "conv_shortcut.");
  return (key) => {
    if (/^(quant_conv|post_quant_conv|(encoder|decoder)\.conv_(in|out))\./.test(key)) return key;
    const side = /^(encoder|decoder)\.(.+)$/.exec(key);
    if (side === null) return undefined;
    const [, half, rest] = side as unknown as [string, string, string];
    const normOut = /^norm_out\.(weight|bias)$/.exec(rest);
    if (normOut !== null) return `${half}.conv_norm_out.${normOut[1]}`;
    const midResnet = /^mid\.block_([12])\.(.+)$/.exec(rest);
    if (midResnet !== null) return `${half}.mid_block.resnets.${Number(midResnet[1]) - 1}.${resnet(midResnet[2]!)}`;
    const midAttention = /^mid\.attn_1\.(.+)$/.exec(rest);
    if (midAttention !== null) {
      const inner = replacePrefix(midAttention[1]!, vaeAttention);
      return inner === undefined ? undefined : `${half}.mid_block.attentions.0.${inner}`;
    }
    const level = /^(down|up)\.(\d+)\.(?:block\.(\d+)\.(.+)|(downsample|upsample)\.conv\.(weight|bias))$/.exec(rest);
    if (level === null) return undefined;
    const [, direction, index, layer, inner, sampler, parameter] = level;
    const block = `${half}.${direction}_blocks.${direction === "up" ? upLevels - 1 - Number(index) : Number(index)}`;
    return layer === undefined ? `${block}.${sampler}rs.0.conv.${parameter}` : `${block}.resnets.${layer}.${resnet(inner!)}`;
  };
}
