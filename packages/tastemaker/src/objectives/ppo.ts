import { type Tensor, clamp, exp, maximum, mean, mul, neg } from "@tastemaker/tensor";

import { type RatioDiagnostics, ratioDiagnostics } from "./step-policy.ts";

/*
 * Clipped policy gradient on the steps of a sampler: RLCM (arXiv 2404.03673) on a consistency model, DDPO (arXiv 2305.13301) on a diffusion model; specification §5.
 *
 *   loss = mean over steps and batch of max(−A ρ, −A clamp(ρ, 1 − ε, 1 + ε)),   ρ = π_θ(x'|x, c)/π_old(x'|x, c)
 *
 * | symbol | code | meaning |
 * |---|---|---|
 * | ρ | exp(logRatio) | `[B]` of one step, or `[T, B]` |
 * | A | advantages | `[B]`, constants: how much better than usual the picture was, see `train/prompt-statistics.ts` |
 * | ε | clipRange | 1e-4 in both codes, since log π is a mean over D |
 *
 * Differs from the paper/code: nothing; the loss of one step is a mean over the batch, so that the mean of the steps' losses is the whole one.
 */

export interface PpoSettings {
  /** ε, from 0 to 1 */
  readonly clipRange: number;
}

/** max(−Aρ, −A clamp(ρ)) per element, of log ρ's shape. */
export function ppoTerms(logRatio: Tensor, advantages: Tensor, { clipRange }: PpoSettings): Tensor {
  const ratio = exp(logRatio);
  const cost = neg(advantages);
  return maximum(mul(ratio, cost), mul(clamp(ratio, 1 - clipRange, 1 + clipRange), cost));
}

/** `loss`, a scalar, and what is reported with it. */
export function ppoLoss(logRatio: Tensor, advantages: Tensor, settings: PpoSettings): { readonly loss: Tensor } & RatioDiagnostics {
  return { loss: mean(ppoTerms(logRatio, advantages, settings)), ...ratioDiagnostics(logRatio, settings.clipRange) };
}
