import { type Tensor, UsageError, add, constant, mean, mul, square } from "@tastemaker/tensor";

import type { DdimStep } from "../schedulers/ddim.ts";
import { gaussianLogProbTerms } from "../schedulers/log-prob.ts";
import { type Denoiser, type DdimGuidance, predictGuided } from "./denoiser.ts";
import { sinusoidOfStep } from "./lcm.ts";

/** Every state of a sampling run; `[B, C, H, W]` unless said. */
export interface DdimRun {
  /** x_0 … x_(N−1) */
  readonly x: readonly Tensor[];
  /** Network outputs after guidance. */
  readonly output: readonly Tensor[];
  /** Predicted clean latents. */
  readonly original: readonly Tensor[];
  /** μ_i */
  readonly mean: readonly Tensor[];
  /** log π(x_(i+1)|x_i), mean over D, `[B]`, of the steps that add noise; empty for a deterministic run. */
  readonly logProb: readonly Tensor[];
  /** x_N */
  readonly sample: Tensor;
}

/**
 * Sampling of a diffusion model by DDIM with classifier-free guidance (Song et al. 2021, eq. 12; Ho & Salimans 2022; specification §5).
 *
 *   o = u + w (c − u), both from one batch;   x_(i+1) = μ_i + σ_i z_i.
 *
 * @param latents x_0 `[B, C, H, W]`, standard normal.
 * @param noise z_0 … z_(N−1) of the latents' shape; may be left out when every σ is 0.
 * @throws UsageError `noise-count` for another number of noise tensors.
 */
export function sampleDdim(denoiser: Denoiser, schedule: readonly DdimStep[], latents: Tensor, noise: readonly Tensor[], guidance: DdimGuidance): DdimRun {
  const isStochastic = schedule.some(({ sigma }) => sigma > 0);
  const expected = isStochastic ? schedule.length : 0;
  if (noise.length !== expected && noise.length !== schedule.length) throw new UsageError("noise-count", `noise: expected ${expected} tensors for ${schedule.length} steps, got ${noise.length}`);
  const x = [latents];
  const run = { output: [] as Tensor[], original: [] as Tensor[], mean: [] as Tensor[], logProb: [] as Tensor[] };
  for (const [i, step] of schedule.entries()) {
    const current = x[i]!;
    const sinusoid = sinusoidOfStep(denoiser.config, step.timestep);
    const output = predictGuided(denoiser, current, constant(sinusoid, [1, sinusoid.length]), guidance);
    const mu = add(mul(current, step.meanFromSample), mul(output, step.meanFromOutput));
    run.output.push(output);
    run.original.push(add(mul(current, step.originalFromSample), mul(output, step.originalFromOutput)));
    run.mean.push(mu);
    const z = noise[i];
    x.push(z === undefined ? mu : add(mu, mul(z, step.sigma)));
    // With `set_alpha_to_one` the last step adds no noise: it has no density.
    if (z !== undefined && step.sigma > 0) {
      // The sample lies σz from the mean, so −(x' − μ)²/(2σ²) is −z²/2; subtracting the rounded x' and μ would lose digits where σ is small.
      run.logProb.push(add(mean(mul(square(z), -0.5), [1, 2, 3]), gaussianLogProbTerms(step.sigma).constant));
    }
  }
  const sample = x.pop()!;
  return { x, ...run, sample };
}
