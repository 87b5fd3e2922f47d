import { type Tensor, UsageError, clamp, input, recompute, silu, sliceAxis } from "@tastemaker/tensor";

import { type ConfigJson, ConfigReader } from "./config-reader.ts";
import { convolution, groupNormalization } from "./layers.ts";
import { downsample, resnetBlock, upsample } from "./resnet-block.ts";
import { type Parameter, type Scope, collectParameters } from "./scope.ts";
import { pixelAttention } from "./transformer-block.ts";

/** diffusers' constant for every group norm of the autoencoder. */
const EPS = 1e-6;

/** A diffusers `AutoencoderKL` configuration, reduced to what changes the computation. */
export interface AutoencoderConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly latentChannels: number;
  /** Channels per level, finest first. */
  readonly channels: readonly number[];
  readonly layers: number;
  readonly groups: number;
  /** Latents of the diffusion model are the encoder's mean times this. */
  readonly scalingFactor: number;
  readonly hasMidAttention: boolean;
  readonly useQuantConv: boolean;
  readonly usePostQuantConv: boolean;
}

/**
 * Reads an autoencoder's `config.json` (diffusers 0.42 names, its defaults for absent keys).
 *
 * @throws UsageError `model-config` or `unknown-name`, naming the key.
 */
export function parseAutoencoderConfig(json: ConfigJson): AutoencoderConfig {
  const read = new ConfigReader("AutoencoderKL", json);
  const channels = read.counts("block_out_channels", [64]);
  const down = read.listOf("down_block_types", ["DownEncoderBlock2D"] as const, channels.map(() => "DownEncoderBlock2D" as const));
  const up = read.listOf("up_block_types", ["UpDecoderBlock2D"] as const, channels.map(() => "UpDecoderBlock2D" as const));
  for (const [key, types] of [["down_block_types", down], ["up_block_types", up]] as const) {
    if (types.length !== channels.length) {
      throw new UsageError("model-config", `AutoencoderKL config: expected ${channels.length} block types, as many as block_out_channels, got ${types.length} (at ${key})`);
    }
  }
  read.mustBe("act_fn", "silu", "swish");
  read.mustBe("shift_factor", 0);
  read.mustBe("latents_mean");
  read.mustBe("latents_std");
  read.ignore("sample_size", "force_upcast");
  const config: AutoencoderConfig = {
    inChannels: read.count("in_channels", 3),
    outChannels: read.count("out_channels", 3),
    latentChannels: read.count("latent_channels", 4),
    channels,
    layers: read.count("layers_per_block", 1),
    groups: read.count("norm_num_groups", 32),
    scalingFactor: read.number("scaling_factor", 0.18215),
    hasMidAttention: read.boolean("mid_block_add_attention", true),
    useQuantConv: read.boolean("use_quant_conv", true),
    usePostQuantConv: read.boolean("use_post_quant_conv", true),
  };
  read.finish();
  const odd = channels.find((width) => width % config.groups !== 0);
  if (odd !== undefined) {
    throw new UsageError("model-config", `AutoencoderKL config: expected block_out_channels divisible by norm_num_groups ${config.groups}, got ${odd} (at block_out_channels)`);
  }
  return config;
}

/** Pixels per latent element along one side. */
export function autoencoderReduction(config: AutoencoderConfig): number {
  return 2 ** (config.channels.length - 1);
}

/** A residual block of the autoencoder: no time embedding. */
export function autoencoderResnet(scope: Scope, config: AutoencoderConfig, x: Tensor, out: number): Tensor {
  return resnetBlock(scope, x, undefined, { out, groups: config.groups, eps: EPS });
}

export interface DecodeOptions {
  /**
   * Compute the inside of every block again in the backward pass instead of keeping it: at 512×512 pixels 2 GB instead of 6, for another forward
   * pass. Default false.
   */
  readonly recompute?: boolean;
}

/** Runs a block, keeping only its input and output for the backward pass when asked to. */
function kept(block: (x: Tensor) => Tensor, x: Tensor, options: DecodeOptions): Tensor {
  return options.recompute === true ? recompute((inner) => [block(inner!)], [x])[0]! : block(x);
}

function midBlock(scope: Scope, config: AutoencoderConfig, x: Tensor, options: DecodeOptions = {}): Tensor {
  const width = x.shape[1]!;
  const resnet = (i: number, h: Tensor): Tensor => kept((inner) => autoencoderResnet(scope.at(`resnets.${i}`), config, inner, width), h, options);
  let h = resnet(0, x);
  if (config.hasMidAttention) h = kept((inner) => pixelAttention(scope.at("attentions.0"), inner, config.groups), h, options);
  return resnet(1, h);
}

/**
 * Latent to picture: `post_quant_conv` and decoder.
 *
 * @param latent `[B, latent_channels, h, w]`, already divided by `scalingFactor`.
 * @returns `[B, 3, H, W]`, nominally in [−1, 1], not clamped.
 */
export function decodeLatent(scope: Scope, config: AutoencoderConfig, latent: Tensor, options: DecodeOptions = {}): Tensor {
  const { channels, layers, groups } = config;
  const top = scope.at("decoder");
  const z = config.usePostQuantConv ? convolution(scope.at("post_quant_conv"), latent, config.latentChannels, { kernel: 1 }) : latent;
  let h = convolution(top.at("conv_in"), z, channels.at(-1)!, { kernel: 3, padding: 1 });
  h = midBlock(top.at("mid_block"), config, h, options);
  for (const [i, width] of [...channels].reverse().entries()) {
    const block = top.at(`up_blocks.${i}`);
    for (let j = 0; j <= layers; j++) h = kept((inner) => autoencoderResnet(block.at(`resnets.${j}`), config, inner, width), h, options);
    if (i < channels.length - 1) h = upsample(block.at("upsamplers.0"), h);
  }
  const last = (inner: Tensor): Tensor =>
    convolution(top.at("conv_out"), silu(groupNormalization(top.at("conv_norm_out"), inner, groups, EPS)), config.outChannels, { kernel: 3, padding: 1 });
  return kept(last, h, options);
}

/**
 * Picture to the latent's normal distribution: encoder and `quant_conv`.
 *
 * @param image `[B, 3, H, W]` in [−1, 1].
 * @returns `mean` and `logvar` (clamped to [−30, 20]), each `[B, latent_channels, h, w]`, not yet multiplied by `scalingFactor`.
 */
export function encodeImage(scope: Scope, config: AutoencoderConfig, image: Tensor): { mean: Tensor; logvar: Tensor } {
  const { channels, layers, groups, latentChannels } = config;
  const top = scope.at("encoder");
  let h = convolution(top.at("conv_in"), image, channels[0]!, { kernel: 3, padding: 1 });
  for (const [i, width] of channels.entries()) {
    const block = top.at(`down_blocks.${i}`);
    for (let j = 0; j < layers; j++) h = autoencoderResnet(block.at(`resnets.${j}`), config, h, width);
    if (i < channels.length - 1) h = downsample(block.at("downsamplers.0"), h, 0);
  }
  h = midBlock(top.at("mid_block"), config, h);
  h = silu(groupNormalization(top.at("conv_norm_out"), h, groups, EPS));
  h = convolution(top.at("conv_out"), h, 2 * latentChannels, { kernel: 3, padding: 1 });
  if (config.useQuantConv) h = convolution(scope.at("quant_conv"), h, 2 * latentChannels, { kernel: 1 });
  return { mean: sliceAxis(h, 1, 0, latentChannels), logvar: clamp(sliceAxis(h, 1, latentChannels, 2 * latentChannels), -30, 20) };
}

/** Every parameter of encoder and decoder. */
export function autoencoderParameters(config: AutoencoderConfig): Parameter[] {
  const side = autoencoderReduction(config);
  return collectParameters((scope) => {
    encodeImage(scope, config, input("image", [1, config.inChannels, side, side]));
    decodeLatent(scope, config, input("latent", [1, config.latentChannels, 1, 1]));
  });
}
