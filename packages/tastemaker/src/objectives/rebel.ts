import { type Tensor, div, mean, square, sub } from "@tastemaker/tensor";

import type { Pair } from "./d3po.ts";

/*
 * REBEL: regression of relative rewards (Gao et al. 2024, arXiv 2404.16767), on the trajectories of a sampler.
 *
 *   loss = mean over pairs of ((Σ_i log ρ_a,i − Σ_i log ρ_b,i)/η − (r_a − r_b))²,   ρ_k,i = π_θ(x'_k|x_k, c)/π_old(x'_k|x_k, c) of step i
 *
 * | symbol | code | meaning |
 * |---|---|---|
 * | a, b | Pair | two pictures of one prompt, drawn independently from the policy that is improved |
 * | Σ_i log ρ_k,i | logRatio | of all steps of a trajectory that have a density, `[B]`; that of the first latent is the same in both policies |
 * | r_a, r_b | rewards | `[B]` each, constants |
 * | η | eta | the log-ratio that a picture better by 1 is to gain on its pair |
 *
 * The square joins the steps: unlike the other objectives' its loss is not a sum over steps. Its gradient is all the same one of a step at a time, with the log-ratios of the other
 * steps as constants.
 *
 * Choices: Σ over the steps, as the density of a trajectory is their product (a mean over N steps is the same with η N times as large); the base policy of the regression is the one that
 * sampled, not the model that training began with; training gives advantages for r, as RLCM's code does in its REBEL option, of whose factor `rebel_lr` 1/η has the place.
 */

export interface RebelSettings {
  /** η, above 0 */
  readonly eta: number;
}

/** `loss`, a scalar, and `residual` `[B]`, what the regression still misses. */
export function rebelLoss({ eta }: RebelSettings, logRatio: Pair, rewards: Pair): { readonly loss: Tensor; readonly residual: Tensor } {
  const residual = sub(div(sub(logRatio.a, logRatio.b), eta), sub(rewards.a, rewards.b));
  return { loss: mean(square(residual)), residual };
}
