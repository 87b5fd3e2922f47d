import { type Tensor, UsageError, add, concat, input, recompute, silu } from "@tastemaker/tensor";

import { convolution, groupNormalization, linear } from "./layers.ts";
import { LORA_LAYERS, type LoraTarget } from "./lora.ts";
import { downsample, resnetBlock, upsample } from "./resnet-block.ts";
import { type Parameter, type Scope, collectParameters } from "./scope.ts";
import { transformer } from "./transformer-block.ts";
import type { UNetConfig, UNetLevel } from "./unet-config.ts";

export interface UNetInputs {
  /** Noisy latent `[B, C, H, W]`. */
  readonly sample: Tensor;
  /** Sinusoidal timestep embedding `[B, block_out_channels[0]]`, computed on the host in float64 (`timestepEmbedding`). */
  readonly sinusoid: Tensor;
  /** Text encoder's last hidden state `[B, L, E]`. */
  readonly context: Tensor;
  /** Guidance embedding `[B, K]` (`guidanceEmbedding`); required exactly when the model has `time_cond_proj_dim`. */
  readonly cond?: Tensor;
}

export interface UNetOptions {
  /**
   * Compute the inside of every residual and transformer block again in the backward pass instead of keeping it: less memory for about a
   * third more time. Default false.
   */
  readonly recompute?: boolean;
}

/** Runs `block`, keeping only its inputs and its output for the backward pass when asked to. */
function kept(block: (...xs: Tensor[]) => Tensor, xs: Tensor[], options: UNetOptions): Tensor {
  return options.recompute === true ? recompute((...inner) => [block(...inner)], xs)[0]! : block(...xs);
}

/**
 * diffusers `TimestepEmbedding`: the sinusoid (plus the projected guidance embedding) through two linear layers.
 *
 * @param sinusoid `[B, C]`
 * @param cond `[B, K]` or undefined
 * @returns `[B, width]`
 */
export function timeEmbedding(scope: Scope, sinusoid: Tensor, cond: Tensor | undefined, width: number): Tensor {
  const start = cond === undefined ? sinusoid : add(sinusoid, linear(scope.at("cond_proj"), cond, sinusoid.shape[1]!, { bias: false }));
  return linear(scope.at("linear_2"), silu(linear(scope.at("linear_1"), start, width)), width);
}

/** What every block of one call shares. */
interface Shared {
  readonly config: UNetConfig;
  readonly options: UNetOptions;
  readonly time: Tensor;
  readonly context: Tensor;
}

function residual(scope: Scope, x: Tensor, out: number, { config, options, time }: Shared): Tensor {
  const block = (h: Tensor, t: Tensor): Tensor => resnetBlock(scope, h, t, { out, groups: config.groups, eps: config.normEps });
  return scope.report(kept((h, t) => block(h!, t!), [x, time], options));
}

function crossAttention(scope: Scope, x: Tensor, level: Pick<UNetLevel, "heads" | "transformerLayers">, { config, options, context }: Shared): Tensor {
  const block = (h: Tensor, c: Tensor): Tensor =>
    transformer(scope, h, c, {
      heads: level.heads,
      groups: config.groups,
      layers: level.transformerLayers,
      useLinearProjection: config.useLinearProjection,
    });
  return scope.report(kept((h, c) => block(h!, c!), [x, context], options));
}

/** `UNetMidBlock2DCrossAttn`: residual, attention, residual. `x [B, C, H, W]`, `time [B, T]` before its SiLU. */
export function midBlock(scope: Scope, config: UNetConfig, x: Tensor, time: Tensor, context: Tensor, options: UNetOptions = {}): Tensor {
  const shared = { config, options, time, context };
  const width = x.shape[1]!;
  let h = residual(scope.at("resnets.0"), x, width, shared);
  h = crossAttention(scope.at("attentions.0"), h, config.mid, shared);
  return scope.report(residual(scope.at("resnets.1"), h, width, shared));
}

/** One level of the down path; appends every state that the up path will need to `skips`. */
function downBlock(scope: Scope, x: Tensor, level: UNetLevel, isLast: boolean, skips: Tensor[], shared: Shared): Tensor {
  let h = x;
  for (let i = 0; i < level.layers; i++) {
    h = residual(scope.at(`resnets.${i}`), h, level.channels, shared);
    if (level.hasAttention) h = crossAttention(scope.at(`attentions.${i}`), h, level, shared);
    skips.push(h);
  }
  if (!isLast) {
    const sampler = scope.at("downsamplers.0");
    h = sampler.report(downsample(sampler, h, shared.config.downsamplePadding));
    skips.push(h);
  }
  return scope.report(h);
}

/** One level of the up path; takes its skips from the end of `skips`. */
function upBlock(scope: Scope, x: Tensor, level: UNetLevel, skips: Tensor[], shared: Shared): Tensor {
  let h = x;
  for (let i = 0; i < level.layers; i++) {
    h = residual(scope.at(`resnets.${i}`), concat([h, skips.pop()!], 1), level.channels, shared);
    if (level.hasAttention) h = crossAttention(scope.at(`attentions.${i}`), h, level, shared);
  }
  const next = skips.at(-1);
  if (next !== undefined) {
    const sampler = scope.at("upsamplers.0");
    // To the size of the next skip, which is not always double: a level of odd size was rounded up on the way down.
    h = sampler.report(upsample(sampler, h, [next.shape[2]!, next.shape[3]!]));
  }
  return scope.report(h);
}

/**
 * diffusers `UNet2DConditionModel`.
 *
 * @returns The network's prediction `[B, out_channels, H, W]`.
 * @throws UsageError `unet-input` when an input does not fit the configuration.
 */
export function unet(scope: Scope, config: UNetConfig, inputs: UNetInputs, options: UNetOptions = {}): Tensor {
  const { sample, sinusoid, context, cond } = inputs;
  if (sample.shape[1] !== config.inChannels) {
    throw new UsageError("unet-input", `sample: expected [B, ${config.inChannels}, H, W], got [${sample.shape.join(", ")}] (at unet)`);
  }
  if (context.shape[2] !== config.crossAttentionDim) {
    throw new UsageError("unet-input", `context: expected [B, L, ${config.crossAttentionDim}], got [${context.shape.join(", ")}] (at unet)`, "use the text encoder of the same model");
  }
  if (sinusoid.shape[1] !== config.down[0]!.channels) {
    throw new UsageError("unet-input", `sinusoid: expected [B, ${config.down[0]!.channels}], got [${sinusoid.shape.join(", ")}] (at unet)`);
  }
  if (cond?.shape[1] !== config.timeCondProjDim) {
    const expected = config.timeCondProjDim === undefined ? "none" : `[B, ${config.timeCondProjDim}]`;
    throw new UsageError("unet-input", `cond: expected ${expected}, got ${cond === undefined ? "none" : `[${cond.shape.join(", ")}]`} (at unet time_cond_proj_dim)`);
  }
  const embedding = scope.at("time_embedding");
  const time = embedding.report(timeEmbedding(embedding, sinusoid, cond, config.timeEmbeddingDim));
  const shared: Shared = { config, options, time, context };

  const first = scope.at("conv_in");
  let h = first.report(
    convolution(first, sample, config.down[0]!.channels, { kernel: config.convInKernel, padding: (config.convInKernel - 1) >> 1 }),
  );
  const skips = [h];
  for (const [i, level] of config.down.entries()) {
    h = downBlock(scope.at(`down_blocks.${i}`), h, level, i === config.down.length - 1, skips, shared);
  }
  h = midBlock(scope.at("mid_block"), config, h, time, context, options);
  for (const [i, level] of config.up.entries()) h = upBlock(scope.at(`up_blocks.${i}`), h, level, skips, shared);

  const norm = scope.at("conv_norm_out");
  h = silu(norm.report(groupNormalization(norm, h, config.groups, config.normEps)));
  const last = scope.at("conv_out");
  return last.report(convolution(last, h, config.outChannels, { kernel: config.convOutKernel, padding: (config.convOutKernel - 1) >> 1 }));
}

/** Leaves of the smallest inputs the network accepts. */
function smallestInputs(config: UNetConfig): UNetInputs {
  const side = 2 ** (config.down.length - 1);
  return {
    sample: input("sample", [1, config.inChannels, side, side]),
    sinusoid: input("sinusoid", [1, config.down[0]!.channels]),
    context: input("context", [1, 1, config.crossAttentionDim]),
    ...(config.timeCondProjDim === undefined ? {} : { cond: input("cond", [1, config.timeCondProjDim]) }),
  };
}

/** Every parameter of the network, in the order of use. */
export function unetParameters(config: UNetConfig): Parameter[] {
  return collectParameters((scope) => {
    unet(scope, config, smallestInputs(config));
  });
}

/**
 * The linear layers of the network's attentions that an adapter changes, in the order of use.
 *
 * @param layers Names inside an attention; default `to_q, to_k, to_v, to_out.0`.
 */
export function loraTargets(config: UNetConfig, layers: readonly string[] = LORA_LAYERS): LoraTarget[] {
  const endings = layers.flatMap((layer) => [`.attn1.${layer}.weight`, `.attn2.${layer}.weight`]);
  return unetParameters(config)
    .filter(({ key }) => endings.some((ending) => key.endsWith(ending)))
    .map(({ key, shape }) => ({ module: key.slice(0, -".weight".length), in: shape[1]!, out: shape[0]! }));
}
