import { InternalError, uniform } from "@tastemaker/tensor";
import type { BootstrapOptions, Interval } from "../../evaluate/bootstrap.ts";
import type { Estimate } from "../../evaluate/cluster-statistics.ts";
import { normalCdf, normalQuantile } from "../../evaluate/normal-distribution.ts";
import { meanOf, standardErrorOf, studentQuantile } from "../../report/paired-statistics.ts";

/*
 * Intervals over two kinds of chance at once: seeds of training and prompts.
 *
 * | symbol | here | meaning |
 * |---|---|---|
 * | S | | seeds of training of one cell |
 * | P | | prompts, the same for every seed and cell |
 * | x_sp | `Grid` | number of seed s and prompt p |
 * | R | `resamples` | bootstrap samples |
 *
 * Every seed sees the same prompts, so seeds and prompts are crossed, not nested: one sample draws S seeds with replacement and one set of P prompts for all of them. Drawing other
 * prompts for every seed, as for nested data, would take S·P independent prompts for granted and be too narrow. Source: Owen, "The pigeonhole bootstrap", Annals of
 * Applied Statistics 1(2), 2007; it errs on the wide side.
 *
 * A bootstrap of so few seeds is too narrow twice over. First its variance is (S − 1)/S of the true one: the seeds' deviations from their mean are widened by √(S/(S − 1)). Second a
 * variance from few seeds is itself uncertain, and the percentiles of three seeds cannot reach 95 %: intervals are mean ± t·(standard deviation of the samples), t from
 * Student's distribution with Satterthwaite's degrees of freedom, which lie between S − 1 (seeds decide) and P − 1 (prompts decide).
 */

/** One row per seed of training, one column per prompt. */
export type Grid = readonly (readonly number[])[];

/** How often each bootstrap sample drew each prompt. */
export interface PromptDraws {
  readonly prompts: number;
  readonly options: BootstrapOptions;
  /** `[R × P]`; small numbers, so that all of them stay in the processor's cache. */
  readonly counts: Uint16Array;
}

/** What is known of the error of one independent set of seeds. */
interface SeedPart {
  readonly group: string;
  readonly variance: number;
  readonly seeds: number;
}

/** A mean over a grid, with its bootstrap samples. */
export interface Sampled {
  readonly mean: number;
  /** `[R]`, sample by sample from the same prompts as every other from the same `PromptDraws`. */
  readonly draws: Float64Array;
  readonly prompts: number;
  readonly parts: readonly SeedPart[];
  /** Whether some of its trainings have a single seed, so that the interval speaks of prompts alone. */
  readonly isSingleSeed: boolean;
}

/** Samples per address of random numbers: an address costs as much as a few hundred numbers. */
const samplesPerAddress = 50;

/** Draws the prompts of every bootstrap sample. */
export function drawPrompts(prompts: number, options: BootstrapOptions): PromptDraws {
  const counts = new Uint16Array(options.resamples * prompts);
  for (let start = 0; start < options.resamples; start += samplesPerAddress) {
    const count = Math.min(samplesPerAddress, options.resamples - start);
    const draws = uniform({ seed: options.seed, stream: "experiment/bootstrap-prompts", indices: [start / samplesPerAddress] }, count * prompts);
    for (let i = 0; i < draws.length; i++) counts[(start + Math.floor(i / prompts)) * prompts + Math.floor(draws[i]! * prompts)]! += 1;
  }
  return { prompts, options, counts };
}

/** Draws of seeds: `[R × S]`, each sample's shares. Independent between groups; equal for one group and one number of seeds. */
export function drawSeeds(seeds: number, group: string, { seed, resamples }: BootstrapOptions): Float64Array {
  const shares = new Float64Array(resamples * seeds);
  if (seeds === 1) return shares.fill(1);
  const draws = uniform({ seed, stream: `experiment/bootstrap-seeds/${group}`, indices: [seeds] }, resamples * seeds);
  for (let i = 0; i < draws.length; i++) shares[Math.floor(i / seeds) * seeds + Math.floor(draws[i]! * seeds)]! += 1 / seeds;
  return shares;
}

/**
 * Bootstrap samples of a grid's mean.
 *
 * @param group Names the set of trainings: grids of one group draw the same seeds, grids of different groups independent ones. A single seed is taken as it is; nothing is then known
 *   of the error between seeds, and the interval speaks of prompts alone.
 */
export function sampleGrid(grid: Grid, draws: PromptDraws, group: string): Sampled {
  const { prompts, counts, options } = draws;
  const seeds = grid.length;
  if (seeds === 0 || grid.some((row) => row.length !== prompts)) throw new InternalError(`bootstrap: expected rows of ${prompts} prompts, got ${grid.map((row) => row.length).join(", ") || "none"}`);
  const seedShares = drawSeeds(seeds, group, options);
  const widen = seeds > 1 ? Math.sqrt(seeds / (seeds - 1)) : 1;
  const rows = grid.map((row) => Float64Array.from(row));
  const samples = new Float64Array(options.resamples);
  const rowMeans = new Float64Array(seeds);
  for (let sample = 0; sample < samples.length; sample++) {
    const offset = sample * prompts;
    let all = 0;
    for (let s = 0; s < seeds; s++) {
      const row = rows[s]!;
      let sum = 0;
      for (let p = 0; p < prompts; p++) sum += counts[offset + p]! * row[p]!;
      rowMeans[s] = sum / prompts;
      all += sum / prompts / seeds;
    }
    let value = all;
    for (let s = 0; s < seeds; s++) value += widen * seedShares[sample * seeds + s]! * (rowMeans[s]! - all);
    samples[sample] = value;
  }
  const means = grid.map(meanOf);
  const parts = seeds > 1 ? [{ group, variance: standardErrorOf(means) ** 2, seeds }] : [];
  return { mean: meanOf(means), draws: samples, prompts, parts, isSingleSeed: seeds === 1 };
}

function varianceOf(values: Float64Array): number {
  let [sum, squares] = [0, 0];
  for (const value of values) sum += value;
  const mean = sum / values.length;
  for (const value of values) squares += (value - mean) ** 2;
  return squares / (values.length - 1);
}

/**
 * A function of several means, sample by sample. The seeds' shares of its error follow by linearisation.
 * @param inputs of one `PromptDraws`, each of its own group of seeds
 */
export function combine(inputs: readonly Sampled[], f: (means: readonly number[]) => number): Sampled {
  const means = inputs.map(({ mean }) => mean);
  const value = f(means);
  const draws = inputs[0]!.draws.map((_, sample) => f(inputs.map((input) => input.draws[sample]!)));
  const parts = inputs.flatMap((input, index) => {
    const step = 1e-4 * (Math.sqrt(varianceOf(input.draws)) || 1);
    const moved = f(means.map((mean, other) => (other === index ? mean + step : mean)));
    const slope = (moved - value) / step;
    return input.parts.map((part) => ({ ...part, variance: slope ** 2 * part.variance }));
  });
  return { mean: value, draws, prompts: inputs[0]!.prompts, parts, isSingleSeed: inputs.some(({ isSingleSeed }) => isSingleSeed) };
}

/** `a − b` on the same prompts. */
export function subtract(a: Sampled, b: Sampled): Sampled {
  return combine([a, b], ([first, second]) => first! - second!);
}

/** `(a − zero) / (b − zero)`, its error by the delta method: exact quotients of samples are without bound where some of the denominators are near 0. */
export function divide(a: Sampled, b: Sampled, zero = 0): Sampled {
  const whole = b.mean - zero;
  const ratio = (a.mean - zero) / whole;
  return combine([a, b], ([first, second]) => ratio + (first! - a.mean - ratio * (second! - b.mean)) / whole);
}

/** Satterthwaite's degrees of freedom of a variance that is a sum of estimated variances. */
export function satterthwaite(parts: readonly { readonly variance: number; readonly degrees: number }[]): number {
  const total = parts.reduce((sum, { variance }) => sum + variance, 0);
  const spread = parts.reduce((sum, { variance, degrees }) => sum + variance ** 2 / degrees, 0);
  return spread > 0 ? Math.max(1, total ** 2 / spread) : Number.POSITIVE_INFINITY;
}

/** `studentQuantile` for degrees that are no whole number (between 1 and 3 on a straight line), and for infinitely many. */
export function quantileFor(degrees: number): number {
  if (degrees === Number.POSITIVE_INFINITY) return 1.959964;
  const below = Math.floor(degrees);
  return below >= 3 ? studentQuantile(degrees) : studentQuantile(below) + (degrees - below) * (studentQuantile(below + 1) - studentQuantile(below));
}

/** Mean, standard error and 95 % interval of bootstrap samples. */
export function estimateOf({ mean, draws, prompts, parts }: Sampled): Estimate {
  const variance = varianceOf(draws);
  const seeds = parts.map(({ variance: part, seeds: count }) => ({ variance: part, degrees: count - 1 }));
  const ofPrompts = Math.max(0, variance - seeds.reduce((sum, part) => sum + part.variance, 0));
  const reach = quantileFor(satterthwaite([...seeds, { variance: ofPrompts, degrees: Math.max(1, prompts - 1) }])) * Math.sqrt(variance);
  return { mean, standardError: Math.sqrt(variance), low: mean - reach, high: mean + reach };
}

/** Mean and 95 % interval by Student's distribution; without an interval below two values. */
export function estimateValues(values: readonly number[]): Estimate {
  const mean = meanOf(values);
  if (values.length < 2) return { mean, standardError: null, low: null, high: null };
  const standardError = standardErrorOf(values);
  const reach = quantileFor(values.length - 1) * standardError;
  return { mean, standardError, low: mean - reach, high: mean + reach };
}

/**
 * Ends of the interval at percentiles of the samples, for statistics that are no sums (times, medians); infinite ones keep their place in the order. The levels are those of ±t instead of
 * ±1.96, t of Student's distribution, because bootstrap samples of few seeds reach too little far (Hesterberg, The American Statistician 69(4), 2015).
 */
export function percentileInterval(samples: readonly number[], degrees: number): Interval {
  const sorted = Float64Array.from(samples).sort();
  const last = sorted.length - 1;
  const level = normalCdf(-quantileFor(Math.max(1, degrees)));
  return { low: sorted[Math.max(0, Math.ceil(level * sorted.length) - 1)]!, high: sorted[Math.min(last, Math.floor((1 - level) * sorted.length))]! };
}

/** The estimate with its interval widened so that `comparisons` of them hold together in 95 of 100 cases (Bonferroni; the ratio of quantiles is the normal distribution's). */
export function widenFor({ mean, standardError, low, high }: Estimate, comparisons: number): Estimate {
  if (low === null || high === null) return { mean, standardError, low, high };
  const factor = normalQuantile(1 - 0.025 / Math.max(1, comparisons)) / normalQuantile(0.975);
  return { mean, standardError, low: mean - factor * (mean - low), high: mean + factor * (high - mean) };
}

/** Whether an interval lies on one side of 0: 1 above, −1 below, 0 when it holds 0 or there is none. */
export function sideOf({ low, high }: Pick<Estimate, "low" | "high">): -1 | 0 | 1 {
  if (low === null || high === null) return 0;
  return low > 0 ? 1 : high < 0 ? -1 : 0;
}
