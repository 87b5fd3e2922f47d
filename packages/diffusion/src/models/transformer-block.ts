import { type Tensor, add, attention, gelu, mul, reshape, sliceAxis, split, transpose } from "@tastemaker/tensor";

import { groupNormalization, layerNormalization, linear } from "./layers.ts";
import type { Scope } from "./scope.ts";

/** diffusers' constant in `Transformer2DModel` and in the autoencoder; torch's default 1e-5 would be visibly wrong on small inputs. */
const GROUP_NORM_EPS = 1e-6;
const LAYER_NORM_EPS = 1e-5;

/** `[B, C, H, W]` → `[B, H·W, C]`. */
export function toTokens(x: Tensor): Tensor {
  const [batch, channels, height, width] = x.shape as readonly [number, number, number, number];
  return transpose(reshape(x, [batch, channels, height * width]), [0, 2, 1]);
}

/** The first token's values: `[B, L, W]` → `[B, W]`. */
export function firstToken(tokens: Tensor): Tensor {
  const [batch, , width] = tokens.shape as readonly [number, number, number];
  return reshape(sliceAxis(tokens, 1, 0, 1), [batch, width]);
}

/** `[B, H·W, C]` → `[B, C, H, W]`. */
export function fromTokens(tokens: Tensor, height: number, width: number): Tensor {
  const [batch, , channels] = tokens.shape as readonly [number, number, number];
  return reshape(transpose(tokens, [0, 2, 1]), [batch, channels, height, width]);
}

/** diffusers `Attention` without bias on q, k and v. `x [B, L, C]` attends to `context [B, S, E]`. */
function attend(scope: Scope, x: Tensor, context: Tensor, heads: number): Tensor {
  const width = x.shape[2]!;
  const q = linear(scope.at("to_q"), x, width, { bias: false });
  const k = linear(scope.at("to_k"), context, width, { bias: false });
  const v = linear(scope.at("to_v"), context, width, { bias: false });
  return linear(scope.at("to_out.0"), attention(q, k, v, { heads }), width);
}

/** GEGLU feed-forward, four times as wide inside, exact gelu. */
function feedForward(scope: Scope, x: Tensor): Tensor {
  const width = x.shape[2]!;
  const [value, gate] = split(linear(scope.at("net.0.proj"), x, 8 * width), 2, 2) as [Tensor, Tensor];
  return linear(scope.at("net.2"), mul(value, gelu(gate)), width);
}

/**
 * diffusers `BasicTransformerBlock`: self-attention, cross-attention, feed-forward, each with a preceding layer norm and a residual.
 *
 * @param x `[B, L, C]`
 * @param context `[B, S, E]`
 */
export function transformerBlock(scope: Scope, x: Tensor, context: Tensor, heads: number): Tensor {
  const own = layerNormalization(scope.at("norm1"), x, LAYER_NORM_EPS);
  let h = add(x, attend(scope.at("attn1"), own, own, heads));
  h = add(h, attend(scope.at("attn2"), layerNormalization(scope.at("norm2"), h, LAYER_NORM_EPS), context, heads));
  return add(h, feedForward(scope.at("ff"), layerNormalization(scope.at("norm3"), h, LAYER_NORM_EPS)));
}

export interface TransformerOptions {
  readonly heads: number;
  readonly groups: number;
  /** Number of transformer blocks. */
  readonly layers: number;
  /** SD 2 stores the two projections as matrices, SD 1 as 1×1 convolutions. */
  readonly useLinearProjection: boolean;
}

/**
 * diffusers `Transformer2DModel` on pictures.
 *
 * @param x `[B, C, H, W]`
 * @param context `[B, S, E]`
 */
export function transformer(scope: Scope, x: Tensor, context: Tensor, options: TransformerOptions): Tensor {
  const [, channels, height, width] = x.shape as readonly [number, number, number, number];
  const asConvolution = !options.useLinearProjection;
  const normal = groupNormalization(scope.at("norm"), x, options.groups, GROUP_NORM_EPS);
  let tokens = linear(scope.at("proj_in"), toTokens(normal), channels, { asConvolution });
  for (let i = 0; i < options.layers; i++) {
    tokens = transformerBlock(scope.at(`transformer_blocks.${i}`), tokens, context, options.heads);
  }
  return add(fromTokens(linear(scope.at("proj_out"), tokens, channels, { asConvolution }), height, width), x);
}

/**
 * The autoencoder's attention: one head over all pixels, biases everywhere, residual.
 *
 * @param x `[B, C, H, W]`
 */
export function pixelAttention(scope: Scope, x: Tensor, groups: number): Tensor {
  const [, channels, height, width] = x.shape as readonly [number, number, number, number];
  const tokens = toTokens(groupNormalization(scope.at("group_norm"), x, groups, GROUP_NORM_EPS));
  const q = linear(scope.at("to_q"), tokens, channels);
  const k = linear(scope.at("to_k"), tokens, channels);
  const v = linear(scope.at("to_v"), tokens, channels);
  const out = linear(scope.at("to_out.0"), attention(q, k, v, { heads: 1 }), channels);
  return add(fromTokens(out, height, width), x);
}
