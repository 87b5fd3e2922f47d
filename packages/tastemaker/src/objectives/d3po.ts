import { type Tensor, add, clamp, mean, mul, neg, softplus } from "@tastemaker/tensor";

import { type RatioDiagnostics, ratioDiagnostics } from "./step-policy.ts";

/*
 * D3PO: direct preference optimisation of the steps of two trajectories (arXiv 2311.13231, §4; specification §5).
 *
 *   loss = mean over steps and pairs of −log σ(β Σ_k h_k log clamp(ρ_k, 1 − ε, 1 + ε)),   ρ_k = π_θ(x'_k|x_k, c)/π_ref(x'_k|x_k, c),   k = a, b
 *
 * | symbol | code | meaning |
 * |---|---|---|
 * | ρ_a, ρ_b | exp of logRatio | the step of either trajectory against the base model, `[B]` of one step, or `[T, B]`; `stepLogRatio` |
 * | h_a, h_b | preference | `[B]` each, constants: +1 preferred, −1 not, 0 both for a tie |
 * | β | beta | 0.1 in its code |
 * | ε | clipRange | 0.1 in its code |
 *
 * Both trajectories begin at the same latent. Ties give log 2 without gradient and count in the mean.
 *
 * Differs from the paper/code: log clamp(ρ) is computed as a clamp of log ρ, which is the same and keeps its digits near ρ = 1.
 */

export interface D3poSettings {
  readonly beta: number;
  /** ε, from 0 to below 1 */
  readonly clipRange: number;
}

/** A value for either trajectory of a pair. */
export interface Pair {
  readonly a: Tensor;
  readonly b: Tensor;
}

/** `loss`, a scalar, `lossPerPair` of log ρ's shape, and what is reported of either trajectory. */
export function d3poLoss({ beta, clipRange }: D3poSettings, logRatio: Pair, preference: Pair): { readonly loss: Tensor; readonly lossPerPair: Tensor; readonly a: RatioDiagnostics; readonly b: RatioDiagnostics } {
  const clipped = (value: Tensor): Tensor => clamp(value, Math.log(1 - clipRange), Math.log(1 + clipRange));
  const margin = mul(add(mul(clipped(logRatio.a), preference.a), mul(clipped(logRatio.b), preference.b)), beta);
  const lossPerPair = softplus(neg(margin));
  return { loss: mean(lossPerPair), lossPerPair, a: ratioDiagnostics(logRatio.a, clipRange), b: ratioDiagnostics(logRatio.b, clipRange) };
}
