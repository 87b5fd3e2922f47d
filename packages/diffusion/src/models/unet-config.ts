import { UsageError } from "@tastemaker/tensor";

import { type ConfigJson, ConfigReader } from "./config-reader.ts";

/** What one resolution level of the U-Net looks like. */
export interface UNetLevel {
  readonly channels: number;
  readonly hasAttention: boolean;
  /** Residual blocks of the down path (the up path has one more). */
  readonly layers: number;
  readonly heads: number;
  /** Transformer blocks per attention. */
  readonly transformerLayers: number;
}

/** A diffusers `UNet2DConditionModel` configuration, reduced to what changes the computation. */
export interface UNetConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  /** Side of the latent that the model was trained on, or its height and width; a hint, any size works. */
  readonly sampleSize: number | readonly [height: number, width: number] | undefined;
  /** Levels of the down path, finest first. */
  readonly down: readonly UNetLevel[];
  /** Levels of the up path, coarsest first; `layers` already counts the additional block. */
  readonly up: readonly UNetLevel[];
  readonly mid: { readonly heads: number; readonly transformerLayers: number };
  readonly crossAttentionDim: number;
  readonly groups: number;
  readonly normEps: number;
  /** Width of the guidance embedding that `time_embedding.cond_proj` takes; undefined when the model has none. */
  readonly timeCondProjDim: number | undefined;
  readonly timeEmbeddingDim: number;
  readonly flipSinToCos: boolean;
  readonly freqShift: number;
  readonly downsamplePadding: number;
  readonly useLinearProjection: boolean;
  readonly convInKernel: number;
  readonly convOutKernel: number;
}

const DOWN_TYPES = ["CrossAttnDownBlock2D", "DownBlock2D"] as const;
const UP_TYPES = ["UpBlock2D", "CrossAttnUpBlock2D"] as const;

/** Keys that only matter for variants which are rejected by `mustBe`, or that do not change inference. */
const WITHOUT_EFFECT = [
  "addition_embed_type_num_heads",
  "addition_time_embed_dim",
  "class_embeddings_concat",
  "num_class_embeds",
  "projection_class_embeddings_input_dim",
  "upcast_attention",
];

/**
 * Reads a U-Net's `config.json` (diffusers 0.42 names, its defaults for absent keys).
 *
 * `attention_head_dim` is the number of heads, as in every published Stable Diffusion; `num_attention_heads` wins over it.
 *
 * @throws UsageError `model-config` or `unknown-name`, naming the key.
 */
export function parseUNetConfig(json: ConfigJson): UNetConfig {
  const read = new ConfigReader("UNet2DConditionModel", json);
  const channels = read.counts("block_out_channels", [320, 640, 1280, 1280]);
  const blocks = channels.length;
  const defaultDown = channels.map((_, i) => (i === blocks - 1 ? "DownBlock2D" : "CrossAttnDownBlock2D"));
  const defaultUp = channels.map((_, i) => (i === 0 ? "UpBlock2D" : "CrossAttnUpBlock2D"));
  const downTypes = read.listOf("down_block_types", DOWN_TYPES, defaultDown);
  const upTypes = read.listOf("up_block_types", UP_TYPES, defaultUp);
  for (const [key, types] of [["down_block_types", downTypes], ["up_block_types", upTypes]] as const) {
    if (types.length !== blocks) {
      throw new UsageError("model-config", `UNet2DConditionModel config: expected ${blocks} block types, as many as block_out_channels, got ${types.length} (at ${key})`);
    }
  }
  const layers = read.perBlock("layers_per_block", blocks) ?? channels.map(() => 2);
  const headDim = read.perBlock("attention_head_dim", blocks) ?? channels.map(() => 8);
  const heads = read.perBlock("num_attention_heads", blocks) ?? headDim;
  const depth = read.perBlock("transformer_layers_per_block", blocks) ?? channels.map(() => 1);
  const upDepth = read.perBlock("reverse_transformer_layers_per_block", blocks) ?? [...depth].reverse();

  read.refuseNull("mid_block_type", "UNetMidBlock2DCrossAttn");
  read.mustBe("mid_block_type", "UNetMidBlock2DCrossAttn");
  read.mustBe("act_fn", "silu", "swish");
  read.mustBe("time_embedding_type", "positional");
  read.mustBe("resnet_time_scale_shift", "default");
  read.mustBe("attention_type", "default");
  read.mustBe("dropout", 0);
  for (const key of ["mid_block_scale_factor", "resnet_out_scale_factor"]) read.mustBe(key, 1);
  const off = ["center_input_sample", "only_cross_attention", "dual_cross_attention", "mid_block_only_cross_attention", "resnet_skip_time_act"];
  for (const key of off) read.mustBe(key, false);
  const absent = ["addition_embed_type", "class_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "cross_attention_norm", "time_embedding_act_fn", "timestep_post_act"];
  for (const key of absent) read.mustBe(key);
  read.ignore(...WITHOUT_EFFECT);

  const level = (i: number, hasAttention: boolean, extra: number, transformerLayers: number): UNetLevel => ({
    channels: channels[i]!,
    hasAttention,
    layers: layers[i]! + extra,
    heads: heads[i]!,
    transformerLayers,
  });
  const config: UNetConfig = {
    inChannels: read.count("in_channels", 4),
    outChannels: read.count("out_channels", 4),
    sampleSize: read.optionalSize("sample_size"),
    down: channels.map((_, i) => level(i, downTypes[i] === "CrossAttnDownBlock2D", 0, depth[i]!)),
    up: channels.map((_, i) => level(blocks - 1 - i, upTypes[i] === "CrossAttnUpBlock2D", 1, upDepth[i]!)),
    mid: { heads: heads[blocks - 1]!, transformerLayers: depth[blocks - 1]! },
    crossAttentionDim: read.count("cross_attention_dim", 1280),
    groups: read.count("norm_num_groups", 32),
    normEps: read.number("norm_eps", 1e-5),
    timeCondProjDim: read.optionalCount("time_cond_proj_dim"),
    timeEmbeddingDim: read.optionalCount("time_embedding_dim") ?? channels[0]! * 4,
    flipSinToCos: read.boolean("flip_sin_to_cos", true),
    freqShift: read.number("freq_shift", 0),
    downsamplePadding: read.number("downsample_padding", 1),
    useLinearProjection: read.boolean("use_linear_projection", false),
    convInKernel: read.count("conv_in_kernel", 3),
    convOutKernel: read.count("conv_out_kernel", 3),
  };
  read.finish();
  for (const [i, { channels: width, heads: count, hasAttention }] of config.down.entries()) {
    if (width % config.groups !== 0) {
      throw new UsageError("model-config", `UNet2DConditionModel config: expected block_out_channels divisible by norm_num_groups ${config.groups}, got ${width} (at block_out_channels.${i})`);
    }
    if ((hasAttention || i === blocks - 1) && width % count !== 0) {
      throw new UsageError("model-config", `UNet2DConditionModel config: expected block_out_channels divisible by the number of heads ${count}, got ${width} (at block_out_channels.${i})`);
    }
  }
  return config;
}
