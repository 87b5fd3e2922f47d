import type { BootstrapOptions } from "../../evaluate/bootstrap.ts";
import type { Estimate } from "../../evaluate/cluster-statistics.ts";
import { meanOf } from "../../report/paired-statistics.ts";
import { type BetaChoice } from "../choose-beta.ts";
import { type BaseRecord, type DivergenceMethod, divergenceMethods, type RunRecord, type TrainedReward, trainedRewards } from "../run-record.ts";
import { estimateSeeds } from "./curves.ts";
import { combine, divide, drawPrompts, estimateOf, estimateValues, type PromptDraws, sampleGrid, type Sampled } from "./resample.ts";
import { groupName, groupRuns, preferenceGrid, type RunGroup, sweepOf } from "./select-runs.ts";

/** A beta and how often the gold preference takes its pictures over the base model's. */
export interface BetaResult {
  readonly beta: number;
  readonly seeds: number;
  readonly gold: Estimate;
}

/** A row of Table 2. */
export interface BetaRow {
  readonly reward: TrainedReward;
  readonly method: DivergenceMethod;
  /** By metrics that are not trained on: the beta of Table 1. */
  readonly chosen: BetaResult | null;
  /** By the gold preference itself, which a person cannot do: the yardstick. */
  readonly best: BetaResult;
  /** Beta of `auto` is its mean at the end of training. */
  readonly auto: BetaResult | null;
  /** Gold preference of `auto` over that of the best beta. */
  readonly autoOfBest: Estimate | null;
  /** The same of what is beyond one half, which a model that changes nothing has: the stricter question. Null where the best beta is not clearly above one half. */
  readonly autoGainOfBest: Estimate | null;
}

/** Gold gains of stopping an unregularised run early, as shares of what a swept beta gains. */
export interface StoppingRow {
  readonly reward: TrainedReward;
  readonly seeds: number;
  /** Gold gain at the end, at the checkpoint the run calls its best, and where the watch first spoke (at the end where it did not); in the gold's own unit, from the curve. */
  readonly atEnd: Estimate;
  readonly atBest: Estimate;
  readonly atWatch: Estimate;
  readonly watchFired: number;
  /** The best swept beta by its own curve's gold gain at the end. */
  readonly sweep: { readonly method: DivergenceMethod; readonly beta: number; readonly gain: Estimate } | null;
  /** `atBest` and `atWatch` over `sweep.gain`; null where that gain is not above 0. */
  readonly bestOfSweep: Estimate | null;
  readonly watchOfSweep: Estimate | null;
}

export interface BetaTable {
  readonly rows: readonly BetaRow[];
  /** Mean of `autoOfBest` over all rows. Its interval is between rows (each a training of its own) where rows have a single seed, otherwise over seeds and prompts. */
  readonly autoOfBest: Estimate | null;
  readonly stopping: readonly StoppingRow[];
}

/** Share of the best hand-swept gold preference that `auto` should keep. */
export const autoTarget = 0.95;

const sampled = (group: RunGroup, base: BaseRecord, draws: PromptDraws): Sampled => sampleGrid(preferenceGrid(group, base, "gold"), draws, groupName(group));

function betaRow(groups: readonly RunGroup[], base: BaseRecord, reward: TrainedReward, method: DivergenceMethod, choices: readonly BetaChoice[], draws: PromptDraws): { row: BetaRow; share: Sampled | undefined } | undefined {
  const sweep = sweepOf(groups, reward, method).map((group) => ({ group, gold: sampled(group, base, draws) }));
  if (sweep.length === 0) return undefined;
  const result = ({ group, gold }: (typeof sweep)[number]): BetaResult => ({ beta: group.beta as number, seeds: group.runs.length, gold: estimateOf(gold) });
  const best = sweep.reduce((first, second) => (second.gold.mean > first.gold.mean ? second : first));
  const choice = choices.find((one) => one.reward === reward && one.method === method);
  const chosen = sweep.find(({ group }) => group.beta === choice?.beta);
  const automatic = groups.find((group) => group.reward === reward && group.method === method && group.beta === "auto");
  const gold = automatic === undefined ? undefined : sampled(automatic, base, draws);
  const auto = automatic === undefined || gold === undefined ? null : { beta: meanOf(automatic.runs.map(({ lastBeta }) => lastBeta)), seeds: automatic.runs.length, gold: estimateOf(gold) };
  const share = gold === undefined || !(best.gold.mean > 0) ? undefined : divide(gold, best.gold);
  const isGain = (estimateOf(best.gold).low ?? 0) > 0.5;
  return {
    row: {
      reward,
      method,
      chosen: chosen === undefined ? null : result(chosen),
      best: result(best),
      auto,
      autoOfBest: share === undefined ? null : estimateOf(share),
      autoGainOfBest: gold === undefined || !isGain ? null : estimateOf(divide(gold, best.gold, 0.5)),
    },
    share,
  };
}

/** Ratio of two independent estimates by the delta method; null where the second is not above 0. */
function ratio(a: Estimate, b: Estimate): Estimate | null {
  if (!(b.mean > 0)) return null;
  const mean = a.mean / b.mean;
  const scale = (below: number, above: number): number => Math.hypot(below, mean * above) / b.mean;
  return {
    mean,
    standardError: scale(a.standardError ?? Number.NaN, b.standardError ?? Number.NaN),
    low: mean - scale(a.mean - (a.low ?? Number.NaN), (b.high ?? Number.NaN) - b.mean),
    high: mean + scale((a.high ?? Number.NaN) - a.mean, b.mean - (b.low ?? Number.NaN)),
  };
}

/** Gold gain of a group's curves at one evaluation of each run: that at `iteration`, or the last one before it. */
function goldAt({ runs }: RunGroup, iteration: (run: RunRecord) => number): Estimate | undefined {
  const points = runs.flatMap((run) => run.curve.filter((point) => point.iteration <= iteration(run)).at(-1)?.scores["gold"] ?? []);
  return points.length < runs.length || runs.length === 0 ? undefined : estimateSeeds(points.map(({ gain }) => gain), points.map(({ gainStandardError }) => gainStandardError));
}

function stoppingRow(groups: readonly RunGroup[], reward: TrainedReward): StoppingRow | undefined {
  const plain = groups.find((group) => group.reward === reward && group.method === "rocm-none");
  if (plain === undefined) return undefined;
  const last = ({ spec }: RunRecord): number => spec.iterations;
  const atEnd = goldAt(plain, last);
  const atBest = goldAt(plain, (run) => run.bestIteration ?? last(run));
  const atWatch = goldAt(plain, (run) => run.watchFiredAt ?? last(run));
  if (atEnd === undefined || atBest === undefined || atWatch === undefined) return undefined;
  const swept = divergenceMethods.flatMap((method) =>
    sweepOf(groups, reward, method).flatMap((group) => {
      const gain = goldAt(group, last);
      return gain === undefined ? [] : [{ method, beta: group.beta as number, gain }];
    }),
  );
  const sweep = swept.length === 0 ? null : swept.reduce((first, second) => (second.gain.mean > first.gain.mean ? second : first));
  return {
    reward,
    seeds: plain.runs.length,
    atEnd,
    atBest,
    atWatch,
    watchFired: plain.runs.filter(({ watchFiredAt }) => watchFiredAt !== null).length,
    sweep,
    bestOfSweep: sweep === null ? null : ratio(atBest, sweep.gain),
    watchOfSweep: sweep === null ? null : ratio(atWatch, sweep.gain),
  };
}

/**
 * Table 2: which beta, by which rule, and what it is worth. The yardstick is the best of several betas on the very prompts it is judged by, so luck is on its side and ratios to it are
 * on the strict side.
 */
export function betaTable(records: readonly RunRecord[], base: BaseRecord, choices: readonly BetaChoice[], options: BootstrapOptions): BetaTable {
  const draws = drawPrompts(base.prompts.length, options);
  const groups = groupRuns(records);
  const all = trainedRewards.flatMap((reward) => divergenceMethods.flatMap((method) => betaRow(groups, base, reward, method, choices, draws) ?? []));
  const shares = all.flatMap(({ share }) => share ?? []);
  return {
    rows: all.map(({ row }) => row),
    autoOfBest: shares.length === 0 ? null : shares.some(({ isSingleSeed }) => isSingleSeed) ? estimateValues(shares.map(({ mean }) => mean)) : estimateOf(combine(shares, meanOf)),
    stopping: trainedRewards.flatMap((reward) => stoppingRow(groups, reward) ?? []),
  };
}
