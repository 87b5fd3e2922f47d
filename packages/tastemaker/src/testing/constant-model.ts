import {
  type AutoencoderConfig,
  type ConfigJson,
  type Scope,
  type UNetConfig,
  autoencoderParameters,
  initialise,
  parseAutoencoderConfig,
  parseSchedulerConfig,
  parseUNetConfig,
  type SchedulerConfig,
  scopeOf,
  unetParameters,
} from "@tastemaker/diffusion";
import { constant, normal } from "@tastemaker/tensor";

import type { RocmModel } from "../train/rocm-step.ts";

/** A latent consistency or diffusion model of a few thousand random parameters, held as constants, for tests that need no files. */
export interface ConstantModel extends RocmModel {
  readonly scheduler: SchedulerConfig;
}

function frozen(values: ReadonlyMap<string, Float32Array>): Scope {
  return scopeOf((key, shape) => constant(values.get(key)!, shape));
}

/** The smallest U-Net with and without attention on its two levels; takes no guidance embedding. */
export const tinyUNetJson: ConfigJson = {
  block_out_channels: [4, 8],
  down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
  layers_per_block: 1,
  attention_head_dim: 2,
  cross_attention_dim: 6,
  norm_num_groups: 2,
  in_channels: 4,
  out_channels: 4,
};

/** Random weights that depend on `seed`; a diffusion model has no guidance embedding and Stable Diffusion's DDIM settings. */
export function constantModel(seed: number, kind: "consistency" | "diffusion" = "consistency"): ConstantModel {
  const unet: UNetConfig = parseUNetConfig({ ...tinyUNetJson, ...(kind === "consistency" && { time_cond_proj_dim: 8 }) });
  const vae: AutoencoderConfig = parseAutoencoderConfig({
    block_out_channels: [4, 4],
    down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    layers_per_block: 1,
    norm_num_groups: 2,
    latent_channels: 4,
    scaling_factor: 1,
  });
  return {
    unet: { scope: frozen(initialise(unetParameters(unet), seed)), config: unet },
    vae: { scope: frozen(initialise(autoencoderParameters(vae), seed + 1)), config: vae },
    scheduler: parseSchedulerConfig(kind === "consistency" ? { _class_name: "LCMScheduler" } : { _class_name: "DDIMScheduler", steps_offset: 1, set_alpha_to_one: false }),
  };
}

/** Standard normal numbers that depend on the stream's name. */
export function noiseOf(stream: string, count: number, scale: number = 1): Float64Array {
  return normal({ seed: 11, stream: `test/${stream}`, indices: [] }, count).map((x) => x * scale);
}
