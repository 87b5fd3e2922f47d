import { normal, permutation } from "@tastemaker/tensor";
import { type PictureNoise, pictureNoise } from "../models/image-sampler.ts";

/** One training sample: what iteration, batch size and accumulation have nothing to do with. */
export interface Sample {
  /** Counted over the whole run; addresses the prompt and every random number. */
  readonly index: number;
  readonly prompt: string;
  readonly noise: PictureNoise;
}

/**
 * Samples `first` … `first + count − 1` of a run, each a function of (seed, index) alone. Every prompt comes once per pass through the list, in
 * an order drawn anew for each pass, with `picturesPerPrompt` (1) samples after each other.
 */
export function planSamples(prompts: readonly string[], first: number, count: number, options: { readonly seed: number; readonly latentShape: readonly number[]; readonly steps: number; readonly picturesPerPrompt?: number }): Sample[] {
  const { seed, latentShape, steps, picturesPerPrompt = 1 } = options;
  let pass = -1;
  let order = new Uint32Array();
  return Array.from({ length: count }, (_, offset) => {
    const index = first + offset;
    const place = Math.floor(index / picturesPerPrompt);
    const wanted = Math.floor(place / prompts.length);
    if (wanted !== pass) {
      pass = wanted;
      order = Uint32Array.from(permutation({ seed, stream: "prompts", indices: [pass] }, prompts.length));
    }
    return { index, prompt: prompts[order[place % prompts.length]!]!, noise: pictureNoise({ seed, stream: "noise", index }, latentShape, steps) };
  });
}

/** Noise of the sampled divergence `[M, N−1, B, C, H, W]`, addressed by sample, draw and step. */
export function divergenceNoise(samples: readonly Sample[], draws: number, options: { readonly seed: number; readonly latentShape: readonly number[]; readonly steps: number }): Float32Array {
  const { seed, latentShape, steps } = options;
  const size = latentShape.reduce((product, value) => product * value, 1);
  const result = new Float32Array(draws * (steps - 1) * samples.length * size);
  let offset = 0;
  for (let draw = 0; draw < draws; draw++) {
    for (let step = 0; step < steps - 1; step++) {
      for (const { index } of samples) {
        result.set(normal({ seed, stream: "divergence-noise", indices: [index, draw, step] }, size), offset);
        offset += size;
      }
    }
  }
  return result;
}
