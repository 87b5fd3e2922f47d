import type { BootstrapOptions } from "../../evaluate/bootstrap.ts";
import type { BetaChoice } from "../choose-beta.ts";
import { type BaseRecord, baseOf, type Method, type RunRecord, type TrainedReward, trainedRewards } from "../run-record.ts";
import { firstReach, interpolate, type Line, lineOf, meanLine } from "./curves.ts";
import { drawSeeds, percentileInterval } from "./resample.ts";
import { baseSpread, groupName, groupRuns, rowOf, type RunGroup } from "./select-runs.ts";
import { heldOutLine } from "./training-curves.ts";

/** What is to be reached. */
export const qualities = ["held-out gain", "held-out score", "trained reward", "gold"] as const;
export type Quality = (typeof qualities)[number];

/** Goals: times sooner than RLCM and than DDPO. */
export const speedGoals: Readonly<Partial<Record<Method, number>>> = { rlcm: 5, ddpo: 20 };

/**
 * How much sooner one method has what another ends with.
 *
 * `reached`: it has. `censored`: it had not by the end of its training, so it is at most `ratio` times sooner, where `ratio` is the baseline's time over the whole training. `no gain`:
 * the baseline ends no better than its untrained model, so there is nothing to reach.
 */
export interface SpeedRow {
  readonly reward: TrainedReward;
  readonly quality: Quality;
  readonly method: Method;
  readonly baseline: Method;
  readonly target: number;
  readonly status: "reached" | "censored" | "no gain";
  /** When the baseline first has its final quality, and when the method does, in seconds of training (calibrated); null when it never does. */
  readonly baselineSeconds: number;
  readonly seconds: number | null;
  /** Baseline's time over the method's; null without gain. A method that starts at or above the target needs no time: Infinity is written as null with `seconds` 0. */
  readonly ratio: number | null;
  /** 95 % of bootstrap samples of seeds (of both); 0 where a sample did not reach it, null: without bound, or fewer than two seeds on either side. */
  readonly low: number | null;
  readonly high: number | null;
  /** Whether the interval lies above 1 (1: sooner) or below (−1: later); 0 when it holds 1 or there is none. */
  readonly side: -1 | 0 | 1;
  /** Share of samples in which it was not reached. */
  readonly censoredShare: number;
  readonly seeds: readonly [number, number];
  /** The goal for this baseline and whether the interval is above it. */
  readonly goal: number | null;
  readonly meetsGoal: boolean | null;
}

function qualityLine(run: RunRecord, base: BaseRecord, quality: Quality): Line {
  if (quality === "held-out gain") return heldOutLine(run, base, "gain");
  if (quality === "held-out score") return heldOutLine(run, base, "score");
  const { reward, method } = run.spec;
  const metric = quality === "gold" ? "gold" : reward;
  return lineOf(run, (point) => point.trainSeconds, ({ scores }) => (scores[metric] === undefined ? undefined : scores[metric].gain / baseSpread(base, baseOf(method), metric)));
}

interface Race {
  readonly target: number;
  readonly baselineSeconds: number;
  readonly seconds: number;
  readonly hasGain: boolean;
}

function race(slow: Line, fast: Line): Race {
  const target = slow.y.at(-1)!;
  return { target, hasGain: target > slow.y[0]!, baselineSeconds: firstReach(slow, target), seconds: firstReach(fast, target) };
}

/** Baseline's time over the method's: 0 when never reached, Infinity when the method alone needed no time, 1 when neither did: where there is nothing to reach, nobody is sooner. */
function ratioOf({ baselineSeconds, seconds }: Race): number {
  if (!Number.isFinite(seconds)) return 0;
  return baselineSeconds === seconds ? 1 : baselineSeconds / seconds;
}

/** Bootstrap samples of the mean curve: seeds drawn with replacement, their deviations widened by √(S/(S − 1)) as in `sampleGrid`. */
function sampleLines(lines: readonly Line[], group: string, options: BootstrapOptions): Line[] {
  const { x, y } = meanLine(lines);
  const seeds = lines.length;
  const widen = seeds > 1 ? Math.sqrt(seeds / (seeds - 1)) : 1;
  const deviations = lines.map((line) => x.map((at, point) => interpolate(line, at) - y[point]!));
  const shares = drawSeeds(seeds, group, options);
  return Array.from({ length: options.resamples }, (_, sample) => ({
    x,
    y: y.map((mean, point) => deviations.reduce((sum, deviation, index) => sum + widen * shares[sample * seeds + index]! * deviation[point]!, mean)),
  }));
}

const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);

/** A row, and the ratio of every bootstrap sample. Rows of one baseline draw its seeds alike. */
export interface SampledSpeed {
  readonly row: SpeedRow;
  readonly ratio: number;
  readonly samples: readonly number[];
}

/** Compares mean curves of two sets of seeds; undefined when a curve lacks the quality. */
export function compareSpeed(baseline: RunGroup, challenger: RunGroup, base: BaseRecord, quality: Quality, options: BootstrapOptions): SampledSpeed | undefined {
  const [slow, fast] = [baseline, challenger].map(({ runs }) => runs.map((run) => qualityLine(run, base, quality))) as [Line[], Line[]];
  if ([...slow, ...fast].some(({ x }) => x.length < 2)) return undefined;
  const found = race(meanLine(slow), meanLine(fast));
  const total = Math.min(...fast.map(({ x }) => x.at(-1)!));
  const isReached = Number.isFinite(found.seconds);
  const challengers = sampleLines(fast, groupName(challenger), options);
  const races = sampleLines(slow, groupName(baseline), options).map((line, sample) => race(line, challengers[sample]!));
  const samples = races.map(ratioOf);
  const interval = slow.length < 2 || fast.length < 2 || !found.hasGain ? undefined : percentileInterval(samples, slow.length + fast.length - 2);
  const goal = challenger.method.startsWith("rocm") ? (speedGoals[baseline.method] ?? null) : null;
  const status = !found.hasGain ? "no gain" : isReached ? "reached" : "censored";
  const row: SpeedRow = {
    reward: baseline.reward,
    quality,
    method: challenger.method,
    baseline: baseline.method,
    target: found.target,
    status,
    baselineSeconds: found.baselineSeconds,
    seconds: orNull(found.seconds),
    ratio: status === "no gain" ? null : isReached ? orNull(ratioOf(found)) : found.baselineSeconds / total,
    low: interval === undefined ? null : orNull(interval.low),
    high: interval === undefined ? null : orNull(interval.high),
    side: interval === undefined ? 0 : interval.low > 1 ? 1 : interval.high < 1 ? -1 : 0,
    censoredShare: races.filter(({ seconds }) => !Number.isFinite(seconds)).length / options.resamples,
    seeds: [slow.length, fast.length],
    goal,
    meetsGoal: goal === null || interval === undefined ? null : interval.low >= goal,
  };
  return { row, ratio: ratioOf(found), samples };
}

/** Who has to catch up with whom: every ROCM with RLCM and DDPO, and RLCM with DDPO. */
const pairs: readonly (readonly [Method, readonly Method[]])[] = [
  ["rlcm", ["rocm-none", "rocm-js", "rocm-kl", "rocm-hellinger", "rocm-fisher"]],
  ["ddpo", ["rocm-none", "rocm-js", "rocm-kl", "rocm-hellinger", "rocm-fisher", "rlcm"]],
];

/** Time to quality for every reward, pair and quality that the records allow. */
export function timeToQuality(records: readonly RunRecord[], base: BaseRecord, choices: readonly BetaChoice[], options: BootstrapOptions): SampledSpeed[] {
  const groups = groupRuns(records);
  return trainedRewards.flatMap((reward) =>
    pairs.flatMap(([slow, others]) => {
      const baseline = rowOf(groups, choices, reward, slow);
      if (baseline === undefined) return [];
      return others.flatMap((method) => {
        const challenger = rowOf(groups, choices, reward, method);
        return challenger === undefined ? [] : qualities.flatMap((quality) => compareSpeed(baseline, challenger, base, quality, options) ?? []);
      });
    }),
  );
}
