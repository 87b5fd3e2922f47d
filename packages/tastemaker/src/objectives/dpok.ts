import { type Tensor, add, clamp, div, exp, mean, mul, neg, square, sub } from "@tastemaker/tensor";

import { klDivergence } from "./divergence.ts";
import { type LogProbReduction, type RatioDiagnostics, type StepPoint, type StepPrediction, ratioDiagnostics, reduceLatent } from "./step-policy.ts";

/*
 * DPOK: policy gradient held near the base model (arXiv 2305.16381, §4; specification §5).
 *
 *   loss = rewardWeight · mean(−A clamp(ρ, 1 − ε, 1 + ε)) + klWeight · mean KL(π_θ(·|x, c) ‖ π_ref(·|x, c)),   means over steps and batch
 *
 * | symbol | code | meaning |
 * |---|---|---|
 * | ρ, log π | exp(logRatio), logProb | `[B]` of one step, or `[T, B]` |
 * | A | advantages | `[B]`, constants |
 * | ε | clipRange | 1e-4 in its code |
 * | KL | kl | `[B]` or `[T, B]`: ½ reduce ((μ_θ − μ_ref)/σ)², or mean (ε_θ − ε_ref)² |
 *
 * Differs from the paper: its policy term is −A log π (`logProb`), its code's the clipped ratio without the maximum (`clampedRatio`). Its KL is `gaussian`; its code takes the
 * squared difference of the guided noises (`epsilonMse`), which leaves out each step's weight. A is given from outside: from `train/prompt-statistics.ts`, or from the learned `value-network.ts`.
 */

export const DPOK_POLICY_TERMS = ["clampedRatio", "logProb"] as const;
export const DPOK_KL_FORMS = ["gaussian", "epsilonMse"] as const;

export interface DpokSettings {
  readonly policyTerm: (typeof DPOK_POLICY_TERMS)[number];
  readonly klForm: (typeof DPOK_KL_FORMS)[number];
  /** Of the Gaussian KL, over the D numbers of a latent; `epsilonMse` is always a mean. */
  readonly reduction: LogProbReduction;
  readonly rewardWeight: number;
  readonly klWeight: number;
  /** ε, from 0 to 1 */
  readonly clipRange: number;
}

/** KL of one transition, `[B]`: exactly 0 where policy and reference agree to the bit. */
export function dpokKl({ klForm, reduction }: Pick<DpokSettings, "klForm" | "reduction">, policy: StepPrediction, reference: StepPrediction, { sigma }: StepPoint): Tensor {
  if (klForm === "epsilonMse") return reduceLatent(square(sub(policy.epsilon, reference.epsilon)), "mean");
  return klDivergence(reduceLatent(square(div(sub(policy.mean, reference.mean), sigma)), reduction));
}

/** `loss` and `policyTerm` (with its weight), scalars, and what is reported with them. */
export function dpokLoss(
  settings: DpokSettings,
  { logProb, logRatio, advantages, kl }: { readonly logProb: Tensor; readonly logRatio: Tensor; readonly advantages: Tensor; readonly kl: Tensor },
): { readonly loss: Tensor; readonly policyTerm: Tensor } & RatioDiagnostics {
  const { rewardWeight, klWeight, clipRange } = settings;
  const gain = settings.policyTerm === "logProb" ? logProb : clamp(exp(logRatio), 1 - clipRange, 1 + clipRange);
  const policyTerm = mul(mean(mul(gain, neg(advantages))), rewardWeight);
  return { loss: add(policyTerm, mul(mean(kl), klWeight)), policyTerm, ...ratioDiagnostics(logRatio, clipRange) };
}
