import type { Picture } from "@tastemaker/diffusion";

/** 1 − cosine of two vectors, in float64. */
export function cosineDistance(a: Float32Array, b: Float32Array): number {
  let [dot, squaresA, squaresB] = [0, 0, 0];
  for (const [i, value] of a.entries()) {
    dot += value * b[i]!;
    squaresA += value * value;
    squaresB += b[i]! * b[i]!;
  }
  // Equal vectors are at distance 0, not at the rounding error of two square roots.
  return Math.max(0, 1 - dot / Math.sqrt(squaresA * squaresB));
}

/** Mean absolute difference of two pictures of one size, in levels of 255. */
export function pixelDistance(a: Picture, b: Picture): number {
  let sum = 0;
  for (const [i, level] of a.pixels.entries()) sum += Math.abs(level - b.pixels[i]!);
  return sum / a.pixels.length;
}
