import type { DdimStep } from "@tastemaker/diffusion";

/*
 * What a pathwise objective needs of a sampler's step, in numbers:
 *
 *   f = fromSample·x + fromOutput·o;   x' = next.a·f + next.sigma·z, or the sample is f where nothing follows.
 *
 * | sampler | f | next.a | next.sigma | last step |
 * |---|---|---|---|---|
 * | consistency (specification §2) | the denoised sample | √ᾱ of the following timestep | √(1−ᾱ) of it | deterministic |
 * | DDIM (specification §5) | μ = √ᾱ'·x̂₀ + √(1−ᾱ'−σ²)·ε | 1 | σ = η√((1−ᾱ')/(1−ᾱ)·(1−ᾱ/ᾱ')) | adds noise where ᾱ' < 1 and η > 0 |
 *
 * In both rows x' is normal with mean next.a·f and standard deviation next.sigma, so the divergences of `rocm.ts` are the same formulas.
 */

/** A step of any sampler; an `LcmStep` is one as it is. */
export interface SamplerStep {
  readonly timestep: number;
  readonly fromSample: number;
  readonly fromOutput: number;
  /** What follows; undefined where the sample is f itself. */
  readonly next: { readonly a: number; readonly sigma: number } | undefined;
  /** x̂₀ = predicted.fromSample·x + predicted.fromOutput·o: the picture that this step predicts at once. Undefined: f. */
  readonly predicted?: { readonly fromSample: number; readonly fromOutput: number };
}

/** The steps of DDIM. A last step without noise is deterministic, whatever η. */
export function ddimStepsOf(schedule: readonly DdimStep[]): SamplerStep[] {
  return schedule.map(({ timestep, meanFromSample, meanFromOutput, sigma, originalFromSample, originalFromOutput }, i) => ({
    timestep,
    fromSample: meanFromSample,
    fromOutput: meanFromOutput,
    next: i === schedule.length - 1 && sigma === 0 ? undefined : { a: 1, sigma },
    predicted: { fromSample: originalFromSample, fromOutput: originalFromOutput },
  }));
}

/** Steps that are followed by another state: all, or all but the last. */
export function transitionCount(schedule: readonly Pick<SamplerStep, "next">[]): number {
  return schedule.filter(({ next }) => next !== undefined).length;
}
