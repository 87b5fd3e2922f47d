import { meanOf, standardErrorOf, studentQuantile } from "../report/paired-statistics.ts";
import { type BootstrapOptions, bootstrapMeans, type Interval, intervalOfMean } from "./bootstrap.ts";

/** A mean with what is known of its error; error and interval are null where there are fewer than two prompts. */
export interface Estimate {
  readonly mean: number;
  readonly standardError: number | null;
  /** Ends of the 95 % interval. */
  readonly low: number | null;
  readonly high: number | null;
}

/** Share of pairs in which the second is better; ties count half. */
export interface WinRate {
  readonly rate: number;
  readonly ties: number;
  readonly low: number | null;
  readonly high: number | null;
}

const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);

/** Means of each prompt's numbers. `values` holds `seeds` numbers per prompt, prompt after prompt. */
export function promptMeans(values: readonly number[], seeds: number): number[] {
  return Array.from({ length: values.length / seeds }, (_, prompt) => meanOf(values.slice(prompt * seeds, (prompt + 1) * seeds)));
}

/** Standard error of the mean of numbers that are independent between prompts only; null below two prompts. */
export function clusteredError(values: readonly number[], seeds: number): number | null {
  return orNull(standardErrorOf(promptMeans(values, seeds)));
}

/** Means with intervals of several lists (one number per prompt) from the same bootstrap samples. */
export function estimateMeans(lists: readonly (readonly number[])[], options: BootstrapOptions): Estimate[] {
  const means = bootstrapMeans(lists, options);
  return lists.map((list, index) => {
    const interval = intervalOfMean(list, means[index]!);
    return { mean: meanOf(list), standardError: orNull(standardErrorOf(list)), low: interval?.low ?? null, high: interval?.high ?? null };
  });
}

/**
 * Wilson's interval of a share from `effective` independent pairs, with Student's quantile instead of the normal one. Never empty, also at 0 and 1, where a bootstrap's would be.
 * Source: Wilson 1927; effective numbers as in Korn and Graubard 1998.
 */
export function wilson(share: number, effective: number, quantile: number): Interval {
  const squared = quantile ** 2 / effective;
  const centre = (share + squared / 2) / (1 + squared);
  const half = (quantile * Math.sqrt((share * (1 - share)) / effective + squared / (4 * effective))) / (1 + squared);
  return { low: Math.max(0, Math.min(share, centre - half)), high: Math.min(1, Math.max(share, centre + half)) };
}

/**
 * How often differences are positive.
 *
 * @param differences `seeds` numbers per prompt, positive where the second is better. Seeds of one prompt are not independent: the number of pairs is reduced to
 * share·(1 − share)/variance (variance of the mean, between prompts), but not below the number of prompts.
 */
export function winRate(differences: readonly number[], seeds: number): WinRate {
  const wins = differences.map((value) => (value > 0 ? 1 : value < 0 ? 0 : 0.5));
  const rate = meanOf(wins);
  const prompts = wins.length / seeds;
  const ties = wins.filter((win) => win === 0.5).length;
  const error = clusteredError(wins, seeds);
  if (error === null) return { rate, ties, low: null, high: null };
  const effective = Math.min(wins.length, Math.max(prompts, error > 0 ? (rate * (1 - rate)) / error ** 2 : prompts));
  return { rate, ties, ...wilson(rate, effective, studentQuantile(prompts - 1)) };
}
