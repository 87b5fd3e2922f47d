import type { WatchSetting } from "../config/train-config.ts";
import { meanOf, standardErrorOf, studentTail } from "../report/paired-statistics.ts";
import type { WatchFinding, WatchVerdict } from "../report/report-data.ts";
import { type EvaluationHistory, pairedDifferences, type PromptScores, spreadOf, trainedTotals, type WatchedMetric, type WeightedMetric } from "./evaluation-history.ts";

/*
 * Over-optimisation (reward hacking): the trained reward rises on held-out prompts while measures that are not trained on fall (Gao, Schulman, Hilton
 * 2022, arXiv 2210.10760, figure 1: the proxy rises, the gold reward peaks and falls).
 *
 * An evaluation ("look") scores the same n prompts on the same noise, so two looks are compared prompt by prompt: mean of the differences, Student's t with
 * n − 1 degrees, one-sided. Look k is compared with the base model and with every earlier look, because a measure often rises first and then falls
 * below its peak without falling below the base.
 *
 * Repetition. Whichever look is the peak, choosing it after the fact is a selection, so every pair (k, earlier look) counts as a test: with K looks planned
 * and M measures there are M·K tests against the base and M·K(K−1)/2 against earlier looks. Half of the permitted false alarms is spent evenly on the first,
 * half on the second (weighted Bonferroni: Rosenthal and Rubin 1983; alpha spending: Lan and DeMets 1983). The union bound needs no assumption on how the
 * tests depend on one another, and they do: all looks share their prompts. Sequential tests that learn from growing samples (group-sequential
 * bounds, e-values, confidence sequences) do not apply: a later look has no new prompts, it measures another model.
 *
 * An alarm takes a fall and a rise of the trained reward between the same two looks. The level of such an intersection is at most that of either part (Berger
 * 1982), so each is tested at the pair's level; the rise, which is one test for all measures, at M times it. Thus neither a run without a fall nor one
 * without a rise alarms more often than α. Persistence needs no share: it only removes alarms.
 *
 * Symbols: n prompts, K planned looks, M watched measures, α permitted share of false alarms.
 */

export interface WatchSetup {
  readonly trained: readonly WeightedMetric[];
  readonly watched: readonly WatchedMetric[];
  /** K; evaluations that the whole run will make. */
  readonly plannedLooks: number;
  readonly settings: Pick<WatchSetting, "falseAlarms" | "minimumDrop" | "looks">;
}

/** Levels of a single comparison. */
export interface WatchLevels {
  /** Against the base model. */
  readonly base: number;
  /** Against an earlier look. */
  readonly earlier: number;
}

/** Spreads the permitted false alarms over every comparison that a run can make. */
export function watchLevels({ watched, plannedLooks, settings }: WatchSetup): WatchLevels {
  const half = settings.falseAlarms / 2 / Math.max(1, watched.length);
  const looks = Math.max(1, plannedLooks);
  return { base: half / looks, earlier: half / Math.max(1, (looks * (looks - 1)) / 2) };
}

/** Says in words when too few prompts are evaluated for the watch to fire against anything; undefined when it can, or when nothing is evaluated. */
export function blindWatch(setup: WatchSetup, prompts: number): string | undefined {
  const { plannedLooks, watched } = setup;
  const { base } = watchLevels(setup);
  if (plannedLooks === 0 || watched.length === 0 || leastP(prompts) <= base) return undefined;
  const needed = Math.ceil(-Math.log2(base));
  return `the watch for over-optimisation cannot fire: ${plannedLooks} evaluations of ${watched.length} metrics take p below ${base.toPrecision(2)}, which ${prompts} held-out prompts cannot give; evaluate at least ${needed}, or less often`;
}

/** The least p that an exact sign-flip test (Fisher 1935) of n pairs can give. */
function leastP(n: number): number {
  return 2 ** -n;
}

interface OneSided {
  readonly n: number;
  /** Mean of the differences. */
  readonly mean: number;
  /** 0 below two prompts. */
  readonly error: number;
  /** Undefined where the error is 0. */
  readonly t: number | undefined;
  /** Of "the mean is not above 0". */
  readonly p: number;
}

/**
 * One-sided paired t test of a positive mean, with p not below that of an exact sign-flip test: equal differences at a handful of prompts, whose t is
 * infinite, prove nothing.
 */
function testPositive(differences: readonly number[]): OneSided {
  const n = differences.length;
  const mean = meanOf(differences);
  const error = n < 2 ? 0 : standardErrorOf(differences);
  const t = error > 0 ? mean / error : undefined;
  const tail = t !== undefined ? studentTail(t, n - 1) : mean > 0 ? 0 : 1;
  return { n, mean, error, t, p: Math.max(leastP(n), tail) };
}

/** A reference that looks are compared with. */
interface Reference {
  readonly iteration: number;
  readonly scores: PromptScores;
  readonly totals: number[] | undefined;
  /** Index of the first look after it. */
  readonly next: number;
  /** For one measure; the rise has M times it. */
  readonly level: number;
}

interface Comparison {
  readonly drop: OneSided;
  readonly dropSize: number;
  readonly rise: OneSided;
}

const described = ({ mean, error, t, p }: OneSided): { mean: number; error: number; t?: number; p: number } => ({ mean, error, ...(t === undefined ? {} : { t }), p });

/**
 * Says whether the newest look shows over-optimisation: for some measure and some reference, each of the last `settings.looks` looks lies below the reference
 * by at least `settings.minimumDrop` standard deviations and significantly, while the trained reward lies significantly above it.
 * `suspected` is the same with fewer looks in a row. Per measure the reference with the longest streak (up to what is needed), then the largest drop is reported.
 */
export function judgeLooks({ base, looks }: EvaluationHistory, setup: WatchSetup): WatchVerdict {
  const { trained, watched, settings, plannedLooks } = setup;
  const levels = watchLevels({ ...setup, plannedLooks: Math.max(plannedLooks, looks.length) });
  const totals = looks.map(({ scores }) => trainedTotals(scores, trained));
  const references: Reference[] = looks.map(({ iteration, scores }, index) => ({ iteration, scores, totals: totals[index], next: index + 1, level: levels.earlier }));
  if (base !== undefined) references.unshift({ iteration: 0, scores: base, totals: trainedTotals(base, trained), next: 0, level: levels.base });

  const compare = (reference: Reference, look: number, { name, higherIsBetter = true }: WatchedMetric, scale: number): Comparison | undefined => {
    const rises = pairedDifferences(reference.totals, totals[look]);
    const changes = pairedDifferences(reference.scores[name], looks[look]!.scores[name]);
    if (rises === undefined || changes === undefined) return undefined;
    const drop = testPositive(changes.map((change) => (higherIsBetter ? -change : change)));
    const rise = testPositive(rises);
    const dropSize = scale > 0 ? drop.mean / scale : drop.mean > 0 ? Number.MAX_VALUE : 0;
    return drop.mean > 0 && dropSize >= settings.minimumDrop && drop.p <= reference.level && rise.p <= reference.level * watched.length ? { drop, dropSize, rise } : undefined;
  };

  const findings: WatchFinding[] = [];
  for (const metric of watched) {
    let found: WatchFinding | undefined;
    // One scale for the whole run, so that drops of different looks compare.
    const scale = spreadOf(base?.[metric.name] ?? looks[0]?.scores[metric.name] ?? []);
    for (const reference of references) {
      const newest = reference.next < looks.length ? compare(reference, looks.length - 1, metric, scale) : undefined;
      if (newest === undefined) continue;
      let streak = 1;
      while (streak < settings.looks && looks.length - 1 - streak >= reference.next && compare(reference, looks.length - 1 - streak, metric, scale) !== undefined) streak++;
      if (found !== undefined && (streak < found.looks || (streak === found.looks && newest.drop.mean <= found.drop.mean))) continue;
      const { drop, dropSize, rise } = newest;
      found = { metric: metric.name, since: reference.iteration, looks: streak, n: drop.n, drop: described(drop), dropSize, level: reference.level, rise: described(rise) };
    }
    if (found !== undefined) findings.push(found);
  }
  const confirmed = findings.filter((finding) => finding.looks >= settings.looks);
  if (confirmed.length > 0) return { state: "fired", findings: confirmed };
  return findings.length > 0 ? { state: "suspected", findings } : { state: "quiet", findings: [] };
}
