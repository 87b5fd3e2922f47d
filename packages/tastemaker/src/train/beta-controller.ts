import type { BetaSetting, TrainConfig } from "../config/train-config.ts";

/** What the controller remembers between iterations; saved with every checkpoint. */
export interface BetaState {
  readonly beta: number;
  /** Running mean of |weighted reward|, starting at 0; divided by 1 − decayⁿ when read. */
  readonly reward: number;
  /** Running mean of the summed divergence, likewise. */
  readonly divergence: number;
  readonly updates: number;
}

/** β·ΣD is held near this share of |r|: "one order of magnitude smaller than the rewards" (paper). */
const share = 0.1;
/** Memory of the running means: about ten iterations. */
const decay = 0.9;
/** Iterations in which β only follows the reward's size: the divergence is still near 0, so its value says nothing about β. */
const warmUp = 10;
/** Most that ln β rises per iteration; slower than what it controls. */
const fastestRise = 0.03;
/** Most that ln β falls: much slower, because at the start the divergence is small for want of time, not because β is large. */
const fastestFall = 0.005;
const lowest = 1e-6;
const highest = 1e6;
/** Σs (mean over the latent) at which the embedded world's pictures were changed visibly and still right: KL .03 = s/2, measured at 200 iterations. */
const typicalShift = 0.06;
/** dD/ds at 0 per divergence; Fisher's 1/σ² is averaged over the eight standard steps. */
export const slopes = { none: 0.5, kl: 0.5, hellinger: 1 / 8, js: 1 / 8, "js-sampled": 1 / 8, fisher: 5 } as const;

/** The summed divergence of a model that was changed visibly but not spoilt: what `auto` aims its first β at. */
export function typicalDivergence({ divergence, steps }: Pick<TrainConfig, "divergence" | "steps">, latentNumbers: number): number {
  const { kind, reduction, stepReduction } = divergence;
  return (typicalShift * slopes[kind] * (reduction === "sum" ? latentNumbers : 1)) / (stepReduction === "mean" ? Math.max(1, steps - 1) : 1);
}

/** The state before the first iteration. There β has no effect: the divergence and its gradient are exactly 0. */
export function initialBeta(setting: BetaSetting, iterations: number): BetaState {
  return { beta: betaAt(setting, 1, 0, iterations), reward: 0, divergence: 0, updates: 0 };
}

/** β of an iteration (counted from 0); `steered` is the controller's value, used by `auto` and `target`. */
export function betaAt(setting: BetaSetting, steered: number, iteration: number, iterations: number): number {
  if (typeof setting === "number") return setting;
  if (setting === "auto" || "target" in setting) return steered;
  const { schedule, from, to = from } = setting;
  if (schedule === "constant") return from;
  const done = iterations > 1 ? iteration / (iterations - 1) : 0;
  return from + (to - from) * (schedule === "linear" ? done : (1 - Math.cos(Math.PI * done)) / 2);
}

/**
 * The state after an iteration, for `auto` and `target`.
 *
 * Warm-up: β = 0.1·|r|/D*, with D* the target, or for `auto` the typical divergence. Then ln β rises by up to 0.03 while there is too much
 * divergence (`auto`: β·ΣD above 0.1·|r|; `target`: ΣD above it) and falls by up to 0.005 while there is too little, running means on both sides.
 * Rising is what lowers β·ΣD in the long run: for a reward that grows like g·√D the optimum has D = (g/2β)², so β·D = g²/4β.
 *
 * @param magnitude Mean over the iteration's pictures of |weighted sum of rewards|.
 * @param divergence Mean over the iteration's pictures of ΣD.
 * @param typical `typicalDivergence`.
 */
export function updateBeta(setting: BetaSetting, state: BetaState, magnitude: number, divergence: number, typical: number): BetaState {
  const updates = state.updates + 1;
  const correction = 1 - decay ** updates;
  const next = { beta: state.beta, reward: decay * state.reward + (1 - decay) * magnitude, divergence: decay * state.divergence + (1 - decay) * divergence, updates };
  if (typeof setting === "number" || (setting !== "auto" && !("target" in setting))) return next;
  const wanted = (share * next.reward) / correction;
  const found = next.divergence / correction;
  const bounded = (beta: number): number => Math.min(highest, Math.max(lowest, beta));
  if (updates <= warmUp) return { ...next, beta: bounded(wanted / (setting === "auto" ? typical : setting.target)) };
  const excess = setting === "auto" ? (state.beta * found) / Math.max(wanted, Number.MIN_VALUE) : found / setting.target;
  const direction = Math.tanh(Math.log(Math.max(excess, 1e-9)));
  return { ...next, beta: bounded(state.beta * Math.exp(direction * (direction > 0 ? fastestRise : fastestFall))) };
}
