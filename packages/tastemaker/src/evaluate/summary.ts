import { meanOf } from "../report/paired-statistics.ts";
import { clusteredError, type Estimate, estimateMeans, promptMeans, type WinRate, winRate } from "./cluster-statistics.ts";

/** What was measured of one variant (the base, an adapter, another model); picture p·K + k is seed number k of prompt p. */
export interface Measured {
  /** `[P·K]` per metric. */
  readonly scores: Readonly<Record<string, readonly number[]>>;
  /** `[P]`: mean of 1 − cosine over the pairs of a prompt's pictures; null with one seed or without an embedding. */
  readonly diversity: readonly number[] | null;
  /** `[P·K]`: 1 − cosine to the base's picture of the same noise; null for the base and without an embedding. */
  readonly distance: readonly number[] | null;
  /** `[P·K]`: mean absolute difference to the base's picture, in levels of 255; null for the base. */
  readonly pixels: readonly number[] | null;
}

/** Whether a difference is clear (its interval leaves out zero) and to which side. */
export type Verdict = "better" | "worse" | "unclear";

export interface MetricSummary {
  readonly n: number;
  readonly mean: number;
  /** Between prompts; null below two. */
  readonly standardError: number | null;
  /** Against the base on equal noise; null for the base. */
  readonly difference: Estimate | null;
  readonly wins: WinRate | null;
  readonly verdict: Verdict | null;
}

export interface VariantSummary {
  readonly metrics: Readonly<Record<string, MetricSummary>>;
  readonly diversity: { readonly mean: number; readonly standardError: number | null; readonly difference: Estimate | null; readonly ratio: number | null } | null;
  /** How far the pictures moved from the base's; null for the base. */
  readonly nearness: {
    readonly distance: Estimate | null;
    /** `distance` as a share of the mean distance between two of the base's pictures of one prompt. */
    readonly shareOfDiversity: number | null;
    readonly pixels: Estimate;
  } | null;
}

export interface SummaryDesign {
  readonly seeds: number;
  /** Of the bootstrap. */
  readonly seed: number;
  readonly resamples: number;
  readonly metrics: readonly { readonly name: string; readonly higherIsBetter: boolean }[];
}

const subtract = (a: readonly number[], b: readonly number[]): number[] => a.map((value, index) => value - b[index]!);

function verdictOf({ low, high }: Estimate, higherIsBetter: boolean): Verdict {
  if (low === null || high === null || (low <= 0 && high >= 0)) return "unclear";
  return low > 0 === higherIsBetter ? "better" : "worse";
}

/**
 * Everything that is said of the measurements: a pure function of them, so that anybody can repeat it. The first variant is the base.
 */
export function summarise(variants: readonly Measured[], { seeds, seed, resamples, metrics }: SummaryDesign): VariantSummary[] {
  const base = variants[0]!;
  // All lists go through one bootstrap, so that every interval comes from the same samples of prompts.
  const lists: (readonly number[])[] = [];
  const enlist = (list: readonly number[]): number => lists.push(list) - 1;
  const places = variants.map((variant, index) => {
    if (index === 0) return undefined;
    return {
      scores: metrics.map(({ name }) => enlist(promptMeans(subtract(variant.scores[name]!, base.scores[name]!), seeds))),
      diversity: variant.diversity === null || base.diversity === null ? undefined : enlist(subtract(variant.diversity, base.diversity)),
      distance: variant.distance === null ? undefined : enlist(promptMeans(variant.distance, seeds)),
      pixels: enlist(promptMeans(variant.pixels!, seeds)),
    };
  });
  const estimates = estimateMeans(lists, { seed, resamples });
  const at = (place: number | undefined): Estimate | null => (place === undefined ? null : estimates[place]!);
  const baseDiversity = base.diversity === null ? null : meanOf(base.diversity);
  const share = (value: number, of: number | null): number | null => (of === null || of === 0 ? null : value / of);
  return variants.map((variant, index) => {
    const found = places[index];
    const summaries = metrics.map(({ name, higherIsBetter }, row): [string, MetricSummary] => {
      const scores = variant.scores[name]!;
      const difference = at(found?.scores[row]);
      const gains = subtract(scores, base.scores[name]!).map((value) => (higherIsBetter ? value : -value));
      return [
        name,
        {
          n: scores.length,
          mean: meanOf(scores),
          standardError: clusteredError(scores, seeds),
          difference,
          wins: difference === null ? null : winRate(gains, seeds),
          verdict: difference === null ? null : verdictOf(difference, higherIsBetter),
        },
      ];
    });
    const { diversity } = variant;
    const mean = diversity === null ? 0 : meanOf(diversity);
    const distance = at(found?.distance);
    return {
      metrics: Object.fromEntries(summaries),
      diversity: diversity === null ? null : { mean, standardError: clusteredError(diversity, 1), difference: at(found?.diversity), ratio: found === undefined ? null : share(mean, baseDiversity) },
      nearness: found === undefined ? null : { distance, shareOfDiversity: distance === null ? null : share(distance.mean, baseDiversity), pixels: at(found.pixels)! },
    };
  });
}
