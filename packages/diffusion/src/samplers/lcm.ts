import { type Operand, type Tensor, UsageError, add, constant, mul } from "@tastemaker/tensor";

import type { UNetConfig } from "../models/unet-config.ts";
import { timestepEmbedding } from "../schedulers/embeddings.ts";
import type { LcmStep } from "../schedulers/lcm.ts";
import { type Conditioning, type Denoiser, predict } from "./denoiser.ts";

/** One timestep as a network sees it: f(x) = fromSample·x + fromOutput·o. Numbers are fixed in the program, tensors are fed per run. */
export interface LcmPoint {
  /** `[1, W]` */
  readonly sinusoid: Tensor;
  readonly fromSample: Operand;
  readonly fromOutput: Operand;
}

/** A timestep's sinusoidal embedding in the form that the network was trained with, `[W]`, float64. */
export function sinusoidOfStep(config: UNetConfig, timestep: number): Float64Array {
  return timestepEmbedding(timestep, config.down[0]!.channels, config.flipSinToCos, config.freqShift);
}

/** A step of the schedule, written into the program. */
export function lcmPoint(config: UNetConfig, { timestep, fromSample, fromOutput }: LcmStep): LcmPoint {
  const sinusoid = sinusoidOfStep(config, timestep);
  return { sinusoid: constant(sinusoid, [1, sinusoid.length]), fromSample, fromOutput };
}

/**
 * The consistency function: from any point of a trajectory to its end in one evaluation.
 *
 * @returns `output` o(x, t, c, w) and `denoised` f = c_skip·x + c_out·x̂₀(x, o), both `[B, C, H, W]`.
 */
export function consistency(denoiser: Denoiser, x: Tensor, { sinusoid, fromSample, fromOutput }: LcmPoint, conditioning: Conditioning): { readonly output: Tensor; readonly denoised: Tensor } {
  const output = predict(denoiser, x, sinusoid, conditioning);
  return { output, denoised: add(mul(x, fromSample), mul(output, fromOutput)) };
}

/** Every state of a sampling run, `[B, C, H, W]` each. */
export interface LcmRun {
  /** x_0 … x_(N−1) */
  readonly x: readonly Tensor[];
  /** o_0 … o_(N−1) */
  readonly output: readonly Tensor[];
  /** f_0 … f_(N−1) */
  readonly denoised: readonly Tensor[];
  /** f_(N−1) */
  readonly sample: Tensor;
}

/**
 * Multistep sampling of a latent consistency model (Luo et al. 2023, algorithm 3; specification §2).
 *
 *   f_i = f(x_i, t_i, c, w);   x_(i+1) = a_(t_(i+1)) f_i + σ_(t_(i+1)) z_i;   the sample is f_(N−1).
 *
 * @param latents x_0 `[B, C, H, W]`, standard normal.
 * @param noise z_0 … z_(N−2), standard normal, of the latents' shape.
 * @throws UsageError `noise-count` for another number of noise tensors.
 */
export function sampleLcm(denoiser: Denoiser, schedule: readonly LcmStep[], latents: Tensor, noise: readonly Tensor[], conditioning: Conditioning): LcmRun {
  if (noise.length !== schedule.length - 1) {
    throw new UsageError("noise-count", `noise: expected ${schedule.length - 1} tensors for ${schedule.length} steps, got ${noise.length}`);
  }
  const x = [latents];
  const outputs: Tensor[] = [];
  const denoised: Tensor[] = [];
  for (const [i, step] of schedule.entries()) {
    const f = consistency(denoiser, x[i]!, lcmPoint(denoiser.config, step), conditioning);
    outputs.push(f.output);
    denoised.push(f.denoised);
    if (step.next !== undefined) x.push(add(mul(f.denoised, step.next.a), mul(noise[i]!, step.next.sigma)));
  }
  return { x, output: outputs, denoised, sample: denoised.at(-1)! };
}
