import type { MetricsLine } from "../report/report-data.ts";
import type { DifferentiableScore, Reward } from "../rewards/reward.ts";
import { normalizeScore, type RewardNormalization } from "../rewards/normalization.ts";
import type { ParameterSet } from "./adamw.ts";
import type { TrainState } from "./train-state.ts";

/** What an iteration says of itself: means over its samples. */
export type IterationResult = Pick<MetricsLine, "reward" | "rewards" | "normalized" | "divergence" | "beta" | "loss" | "policy">;

/** A way to train an adapter on rewards: what it does in an iteration. */
export interface Objective {
  /**
   * One iteration: a function of the configuration and the state. Hands the gradients of each update of the adapter to `update`, which changes `state.parameters` in place, and may change
   * what of the state is its own (beta, the statistics of the prompts).
   * @throws UsageError `not-finite` naming the tensor
   */
  iterate(state: TrainState, update: (gradients: ParameterSet) => void): Promise<IterationResult>;
  /** What to do about a gradient of exactly zero. */
  readonly zeroGradientCure: string;
  dispose(): Promise<void>;
}

/** A reward that is trained on, and its weight in the sum. */
export interface TrainedReward {
  readonly reward: Reward;
  readonly weight: number;
  /** Applied before the weight. */
  readonly normalization: RewardNormalization | undefined;
}

/** A reward that an objective goes through. */
export interface DifferentiatedReward extends TrainedReward {
  readonly gradient: DifferentiableScore;
}

/** Weighted sum of means, each normalised where asked; normalising is affine, so the mean of the sum is the sum of the means. */
export function weightedSum(rewards: readonly TrainedReward[], valueOf: (name: string) => number): number {
  return rewards.reduce((total, { reward, weight, normalization }) => total + weight * normalizeScore(valueOf(reward.name), normalization), 0);
}

/** The means of those rewards that are normalised, as they enter the sum, before their weights; undefined when none is. */
export function normalizedMeans(rewards: readonly TrainedReward[], means: Readonly<Record<string, number>>): Readonly<Record<string, number>> | undefined {
  const found = rewards.filter(({ normalization }) => normalization !== undefined);
  return found.length === 0 ? undefined : Object.fromEntries(found.map(({ reward: { name }, normalization }) => [name, normalizeScore(means[name]!, normalization)]));
}
