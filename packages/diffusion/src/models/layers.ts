import {
  type Tensor,
  add,
  constant,
  conv2d,
  expand,
  groupNorm,
  layerNorm,
  matmul,
  mul,
  reshape,
} from "@tastemaker/tensor";

import type { InitialValue, LoraModule, Scope } from "./scope.ts";

const ONE: InitialValue = { kind: "constant", value: 1 };

/** PyTorch's default for linear and convolution parameters: kaiming-uniform with a = √5, which is U(±1/√fan_in); biases likewise. */
function fanInUniform(fanIn: number): InitialValue {
  return { kind: "uniform", bound: 1 / Math.sqrt(fanIn) };
}

/** scale[b]·factor for every row of a batch whose pictures have equally many rows: a number, or `[rows, 1]`. */
function rowScale({ scale, factor }: LoraModule, rows: number): Tensor | number {
  if ("shape" in scale) {
    const batch = scale.shape[0]!;
    return reshape(expand(reshape(mul(scale, factor), [batch, 1]), [batch, rows / batch]), [rows, 1]);
  }
  const each = rows / scale.length;
  return scale.every((value) => value === scale[0]) ? scale[0]! * factor : constant(Array.from({ length: rows }, (_, row) => scale[Math.floor(row / each)]! * factor), [rows, 1]);
}

export interface LinearOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** Starting value of the weight; default PyTorch's. When given, the bias starts at 0 (the transformers library's habit). */
  readonly initial?: InitialValue;
  /** The checkpoint stores the matrix as a 1×1 convolution `[out, in, 1, 1]`; default false. */
  readonly asConvolution?: boolean;
}

/**
 * y = x Wᵀ + b, plus the low-rank update scale[b]·factor·(x downᵀ) upᵀ when the scope has an adapter for this module.
 *
 * @param x `[..., in]`, whose first axis is the batch when an adapter is present.
 * @returns `[..., out]`
 */
export function linear(scope: Scope, x: Tensor, out: number, options: LinearOptions = {}): Tensor {
  const { bias = true, initial, asConvolution = false } = options;
  const inner = x.shape.at(-1)!;
  const stored = scope.get("weight", asConvolution ? [out, inner, 1, 1] : [out, inner], initial ?? fanInUniform(inner));
  const weight = asConvolution ? reshape(stored, [out, inner]) : stored;
  const rows = reshape(x, [-1, inner]);
  let y = matmul(rows, weight, { transposeB: true });
  if (bias) y = add(y, scope.get("bias", [out], initial === undefined ? fanInUniform(inner) : undefined));
  const lora = scope.lora();
  if (lora !== undefined) {
    const low = matmul(rows, lora.down, { transposeB: true });
    y = add(y, matmul(mul(low, rowScale(lora, rows.shape[0]!)), lora.up, { transposeB: true }));
  }
  return reshape(y, [...x.shape.slice(0, -1), out]);
}

export interface ConvolutionOptions {
  readonly kernel: number;
  readonly stride?: number;
  /** One number, or top, left, bottom, right. */
  readonly padding?: number | readonly [number, number, number, number];
  /** Default true. */
  readonly bias?: boolean;
  /** Starting value of the weight; default PyTorch's. */
  readonly initial?: InitialValue;
}

/** Square convolution. `x [B, in, H, W]` → `[B, out, H', W']`. */
export function convolution(scope: Scope, x: Tensor, out: number, options: ConvolutionOptions): Tensor {
  const { kernel, stride = 1, padding = 0, bias = true, initial } = options;
  const channels = x.shape[1]!;
  const start = fanInUniform(channels * kernel * kernel);
  const weight = scope.get("weight", [out, channels, kernel, kernel], initial ?? start);
  const y = conv2d(x, weight, { stride, padding });
  return bias ? add(y, reshape(scope.get("bias", [out], start), [1, out, 1, 1])) : y;
}

/** Group normalisation with affine parameters. `x [B, C, ...]`. */
export function groupNormalization(scope: Scope, x: Tensor, groups: number, eps: number): Tensor {
  const channels = x.shape[1]!;
  return groupNorm(x, groups, scope.get("weight", [channels], ONE), scope.get("bias", [channels]), eps);
}

/** Layer normalisation over the last axis with affine parameters. */
export function layerNormalization(scope: Scope, x: Tensor, eps: number): Tensor {
  const width = x.shape.at(-1)!;
  return layerNorm(x, scope.get("weight", [width], ONE), scope.get("bias", [width]), eps);
}
