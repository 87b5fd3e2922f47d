import { type Shape, type Tensor, add, matmul, mean, reshape, silu } from "@tastemaker/tensor";

/*
 * The learned value baseline of DPOK (arXiv 2305.16381, §4.3): what reward the picture will have that comes of x_t.
 *
 *   V(x_t, t, c) = w₃ · silu(W₂ silu(W_x pool(x_t) + W_t embed(t) + W_c mean(c) + b₁) + b₂) + b₃
 *
 * | symbol | code | meaning |
 * |---|---|---|
 * | pool(x_t) | pooled | means over a grid of g × g cells of the latent, g the largest of 4, 2, 1 that divides both sides, `[B, C·g²]` |
 * | embed(t) | sinusoid | the U-Net's own embedding of the timestep, `[1, W]` |
 * | mean(c) | prompt | mean over the tokens of the prompt's context, `[B, E]` |
 *
 * Differs from the code: the layers' widths and the pooling are ours; its network is as small, on the whole latent.
 */

/** What the network reads. */
export interface ValueLayout {
  /** `[C, H, W]` */
  readonly latentShape: readonly [number, number, number];
  /** Of the timestep's embedding. */
  readonly sinusoidWidth: number;
  /** Of the prompt's context. */
  readonly contextWidth: number;
}

const hidden = 128;

const gridOf = ([, height, width]: ValueLayout["latentShape"]): number => [4, 2, 1].find((cells) => height % cells === 0 && width % cells === 0)!;

/** Shapes of the parameters, by name; matrices are `[in, out]`. */
export function valueShapes({ latentShape, sinusoidWidth, contextWidth }: ValueLayout): ReadonlyMap<string, Shape> {
  return new Map<string, Shape>([
    ["latent.weight", [latentShape[0] * gridOf(latentShape) ** 2, hidden]],
    ["timestep.weight", [sinusoidWidth, hidden]],
    ["prompt.weight", [contextWidth, hidden]],
    ["first.bias", [hidden]],
    ["second.weight", [hidden, hidden]],
    ["second.bias", [hidden]],
    ["value.weight", [hidden, 1]],
    ["value.bias", [1]],
  ]);
}

/** V, `[B]`. @param x `[B, C, H, W]` @param sinusoid `[1, W]` @param context `[B, L, E]` @param parameter by the names of `valueShapes` */
export function valueOf({ latentShape }: ValueLayout, x: Tensor, sinusoid: Tensor, context: Tensor, parameter: (name: string) => Tensor): Tensor {
  const [channels, height, width] = latentShape;
  const rows = x.shape[0]!;
  const grid = gridOf(latentShape);
  const pooled = reshape(mean(reshape(x, [rows, channels, grid, height / grid, grid, width / grid]), [3, 5]), [rows, channels * grid * grid]);
  const prompt = mean(context, [1]);
  const read = add(add(matmul(pooled, parameter("latent.weight")), matmul(prompt, parameter("prompt.weight"))), matmul(sinusoid, parameter("timestep.weight")));
  const first = silu(add(read, parameter("first.bias")));
  const second = silu(add(matmul(first, parameter("second.weight")), parameter("second.bias")));
  return reshape(add(matmul(second, parameter("value.weight")), parameter("value.bias")), [rows]);
}
