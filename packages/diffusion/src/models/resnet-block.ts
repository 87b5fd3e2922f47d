import { type Tensor, add, constant, reshape, resize2d, silu, upsampleNearest2x } from "@tastemaker/tensor";

import { convolution, groupNormalization, linear } from "./layers.ts";
import type { Scope } from "./scope.ts";

export interface ResnetOptions {
  /** Channels of the result. */
  readonly out: number;
  readonly groups: number;
  readonly eps: number;
}

/**
 * diffusers `ResnetBlock2D`: two GroupNorm–SiLU–convolution stages, the time embedding added between them, and a shortcut that is a
 * 1×1 convolution when the width changes.
 *
 * @param x `[B, in, H, W]`
 * @param time `[B, T]` before its SiLU; left out in the autoencoder.
 * @returns `[B, out, H, W]`
 */
export function resnetBlock(scope: Scope, x: Tensor, time: Tensor | undefined, options: ResnetOptions): Tensor {
  const { out, groups, eps } = options;
  let h = silu(groupNormalization(scope.at("norm1"), x, groups, eps));
  h = convolution(scope.at("conv1"), h, out, { kernel: 3, padding: 1 });
  if (time !== undefined) {
    const shift = linear(scope.at("time_emb_proj"), silu(time), out);
    h = add(h, reshape(shift, [shift.shape[0]!, out, 1, 1]));
  }
  h = silu(groupNormalization(scope.at("norm2"), h, groups, eps));
  h = convolution(scope.at("conv2"), h, out, { kernel: 3, padding: 1 });
  const shortcut = x.shape[1] === out ? x : convolution(scope.at("conv_shortcut"), x, out, { kernel: 1 });
  return add(shortcut, h);
}

/**
 * diffusers `Downsample2D`: a 3×3 convolution with stride 2. `padding` 0 means one row below and one column at the right, as the
 * autoencoder does; 1 means all sides.
 */
export function downsample(scope: Scope, x: Tensor, padding: number): Tensor {
  const sides = padding === 0 ? ([0, 0, 1, 1] as const) : padding;
  return convolution(scope.at("conv"), x, x.shape[1]!, { kernel: 3, stride: 2, padding: sides });
}

/** One axis of nearest resizing as a 0/1 matrix `[to, from]`; source index floor(i·from/to), PyTorch's rule. */
function nearestMatrix(from: number, to: number): Tensor {
  const data = new Float32Array(to * from);
  for (let i = 0; i < to; i++) data[i * from + Math.min(from - 1, Math.floor((i * from) / to))] = 1;
  return constant(data, [to, from]);
}

/** Nearest resize of `[B, C, H, W]` to exactly `[height, width]`. */
export function resizeNearest(x: Tensor, height: number, width: number): Tensor {
  const [, , fromHeight, fromWidth] = x.shape as readonly [number, number, number, number];
  if (height === fromHeight && width === fromWidth) return x;
  if (height === 2 * fromHeight && width === 2 * fromWidth) return upsampleNearest2x(x);
  return resize2d(x, nearestMatrix(fromHeight, height), nearestMatrix(fromWidth, width));
}

/**
 * diffusers `Upsample2D`: nearest resize, then a 3×3 convolution.
 *
 * @param size Height and width to reach; default double.
 */
export function upsample(scope: Scope, x: Tensor, size?: readonly [number, number]): Tensor {
  const [, channels, height, width] = x.shape as readonly [number, number, number, number];
  const [toHeight, toWidth] = size ?? [2 * height, 2 * width];
  return convolution(scope.at("conv"), resizeNearest(x, toHeight, toWidth), channels, { kernel: 3, padding: 1 });
}
