import { normal, uniform } from "@tastemaker/tensor";

import type { Parameter } from "./scope.ts";

/**
 * Starting values of a model made from scratch, by key. The numbers of a parameter depend only on `seed` and its key, so adding or removing other
 * parameters changes nothing.
 *
 * Rules: PyTorch's defaults for linear layers and convolutions (U(±1/√fan_in), biases likewise), 1 and 0 for norms, transformers' for CLIP.
 */
export function initialise(parameters: readonly Parameter[], seed: number): Map<string, Float32Array> {
  const values = new Map<string, Float32Array>();
  for (const { key, shape, initial } of parameters) {
    const count = shape.reduce((product, size) => product * size, 1);
    const address = { seed, stream: `init/${key}`, indices: [] };
    if (initial.kind === "constant") {
      values.set(key, new Float32Array(count).fill(initial.value));
    } else if (initial.kind === "normal") {
      values.set(key, Float32Array.from(normal(address, count), (x) => x * initial.std));
    } else {
      values.set(key, Float32Array.from(uniform(address, count), (x) => (2 * x - 1) * initial.bound));
    }
  }
  return values;
}
