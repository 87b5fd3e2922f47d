import { UsageError } from "@tastemaker/tensor";

/** A reward enters the weighted sum as (r − mean)/std, so that weights of rewards with different units can be compared. */
export interface RewardNormalization {
  readonly mean: number;
  /** > 0 */
  readonly std: number;
}

/** Pictures of the base model that `normalize: "base"` measures. */
export const usualNormalizationPictures = 64;

/** (r − mean)/std; r itself without a normalisation. */
export function normalizeScore(score: number, normalization: RewardNormalization | undefined): number {
  return normalization === undefined ? score : (score - normalization.mean) / normalization.std;
}

/**
 * Mean and sample standard deviation (divisor n − 1) of a reward's scores.
 * @throws UsageError `reward-constant` when they do not differ by more than float32 rounding, so that there is nothing to divide by
 */
export function measureNormalization(name: string, scores: readonly number[]): RewardNormalization {
  const mean = scores.reduce((total, value) => total + value, 0) / scores.length;
  const std = Math.sqrt(scores.reduce((total, value) => total + (value - mean) ** 2, 0) / (scores.length - 1));
  const largest = Math.max(...scores.map(Math.abs));
  if (std > 1e-6 * largest) return { mean, std };
  throw new UsageError(
    "reward-constant",
    `reward ${name}: expected scores that differ between the base model's pictures, to normalise by their standard deviation, got ${mean.toPrecision(6)} for all ${scores.length}`,
    'give its scale yourself: "normalize": {"mean": …, "std": …}, or use "none"',
  );
}
