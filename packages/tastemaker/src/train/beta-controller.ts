import type { BetaSetting, TrainConfig } from "../config/train-config.ts";

/** What the controller remembers between iterations; saved with every checkpoint. */
export interface BetaState {
  readonly beta: number;
  /** Number, mean and sum of squared deviations of the pictures' weighted rewards during the warm-up (Welford 1962). */
  readonly rewards: { readonly count: number; readonly mean: number; readonly squares: number };
  /** Running mean of the summed divergence, starting at 0; divided by 1 − decayⁿ when read. */
  readonly divergence: number;
  readonly updates: number;
  /** Share of the typical divergence that `auto` permits: 1, or `unproven`. */
  readonly trust: number;
}

/** Memory of the running mean of the divergence: a few iterations, because one batch's divergence is noisy. */
const decay = 0.7;
/** Iterations in which the reward's spread is measured and β follows it: the divergence is still near 0, so its value says nothing about β. */
const warmUp = 10;
/** Rise of ln β per iteration at e times the wanted divergence, three times that at e³ and beyond: fast, because a reward can be hacked within a dozen iterations. */
const rise = 0.15;
/** Most that ln β falls: much slower, because at the start the divergence is small for want of time, not because β is large. */
const fastestFall = 0.01;
const lowest = 1e-6;
const highest = 1e6;
/** Σs (mean over the latent), so KL s/2 = .06: near it three of the embedded world's four swept rewards please its people most (results/standard, seed 1's sweep). */
const typicalShift = 0.12;
/** Share of the typical divergence for a reward that has not risen on the held-out prompts: moving on would change pictures for nothing. */
const unproven = 0.01;
/** Share of the typical divergence below which a model has hardly moved, so that a reward that has not risen says nothing. */
const hardlyMoved = 0.05;
/** The same as KL. */
const typicalKl = typicalShift / 2;
/** dD/ds at 0 per divergence; Fisher's 1/σ² is averaged over the eight standard steps. */
export const slopes = { none: 0.5, kl: 0.5, hellinger: 1 / 8, js: 1 / 8, "js-sampled": 1 / 8, fisher: 5 } as const;

/** The summed divergence of a model that was changed visibly but not spoilt: what `auto` aims its first β at. */
export function typicalDivergence({ divergence, steps }: Pick<TrainConfig, "divergence" | "steps">, latentNumbers: number): number {
  const { kind, reduction, stepReduction } = divergence;
  return (typicalShift * slopes[kind] * (reduction === "sum" ? latentNumbers : 1)) / (stepReduction === "mean" ? Math.max(1, steps - 1) : 1);
}

/** The state before the first iteration. There β has no effect: the divergence and its gradient are exactly 0. */
export function initialBeta(setting: BetaSetting, iterations: number): BetaState {
  return { beta: betaAt(setting, 1, 0, iterations), rewards: { count: 0, mean: 0, squares: 0 }, divergence: 0, updates: 0, trust: 1 };
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

function withRewards({ count, mean, squares }: BetaState["rewards"], values: readonly number[]): BetaState["rewards"] {
  for (const value of values) {
    const before = value - mean;
    mean += before / ++count;
    squares += before * (value - mean);
  }
  return { count, mean, squares };
}

const bounded = (beta: number): number => Math.min(highest, Math.max(lowest, beta));

/** Running mean of ΣD. */
const divergenceOf = ({ divergence, updates }: BetaState): number => (updates === 0 ? 0 : divergence / (1 - decay ** updates));

/** β for a wanted divergence before anything is known of its effect. One picture has no spread, and some rewards have none: then β stays. */
function startOf({ beta, rewards: { count, squares } }: BetaState, wanted: number, typical: number): number {
  const spread = count > 1 ? Math.sqrt(squares / (count - 1)) : 0;
  return spread > 0 ? (spread / Math.sqrt(typicalKl)) * (typicalKl / typical) * Math.sqrt(typical / wanted) : beta;
}

/**
 * The state after an iteration, for `auto` and `target`. Both hold the divergence at a wanted value D*: `auto` at `typical`, or a share of it (`afterEvaluation`), `target` at its own.
 *
 * Warm-up: β = σ/√K · K/D*, with σ the standard deviation of the rewards so far and K = .06 the wanted divergence as KL. The gain of a reward grows like a·√D, on the embedded world with a ≈ 2σ, and J = a√D − βD
 * is highest at D = (a/2β)². So β is in the reward's unit, and neither its zero point nor its scale matters. Then ln β rises by 0.15·ln(ΣD/D*), at most 0.45, per iteration while the
 * running mean of ΣD is above D* (also during the warm-up), and falls by at most 0.01 while it is below.
 *
 * @param rewards Weighted sum of the rewards of every picture of the iteration.
 * @param divergence Mean over the iteration's pictures of ΣD.
 * @param typical `typicalDivergence`.
 */
export function updateBeta(setting: BetaSetting, state: BetaState, rewards: readonly number[], divergence: number, typical: number): BetaState {
  const updates = state.updates + 1;
  const next: BetaState = { ...state, rewards: updates <= warmUp ? withRewards(state.rewards, rewards) : state.rewards, divergence: decay * state.divergence + (1 - decay) * divergence, updates };
  if (typeof setting === "number" || (setting !== "auto" && !("target" in setting))) return next;
  const wanted = setting === "auto" ? typical * state.trust : setting.target;
  const excess = divergenceOf(next) / wanted;
  const direction = Math.max(-1, Math.min(3, Math.log(Math.max(excess, 1e-9))));
  const steered = state.beta * Math.exp(direction * (direction > 0 ? rise : fastestFall));
  if (updates > warmUp) return { ...next, beta: bounded(steered) };
  const start = startOf(next, wanted, typical);
  return { ...next, beta: bounded(direction > 0 ? Math.max(start, steered) : start) };
}

/**
 * The state after an evaluation, for `auto`: what is permitted depends on what it has bought. A reward whose 95 % interval on the held-out prompts does not lie above the base model's
 * although the model has moved may have nothing to gain, and is held at a hundredth of the typical divergence until it has risen. Either way β begins again as in the warm-up.
 *
 * @param rise Paired comparison of the trained sum of base and tuned model on the held-out prompts; undefined, or of fewer than two prompts: nothing is known, nothing changes.
 */
export function afterEvaluation(setting: BetaSetting, state: BetaState, rise: { readonly low: number } | undefined, typical: number): BetaState {
  if (setting !== "auto" || rise === undefined || !Number.isFinite(rise.low)) return state;
  const trust = rise.low > 0 ? 1 : divergenceOf(state) > hardlyMoved * typical ? unproven : state.trust;
  if (trust === state.trust) return state;
  const start = startOf(state, typical * trust, typical);
  return { ...state, trust, beta: bounded(trust < state.trust ? Math.max(start, state.beta) : start) };
}
