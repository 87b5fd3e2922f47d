import type { Estimate } from "../../evaluate/cluster-statistics.ts";
import { meanOf } from "../../report/paired-statistics.ts";
import { type BetaChoice, chosenBeta } from "../choose-beta.ts";
import { type BaseRecord, type DivergenceMethod, divergenceMethods, type Method, type RunRecord, type TrainedReward, trainedRewards } from "../run-record.ts";
import { firstReach, interpolate, type Line, lineOf, meanLine } from "./curves.ts";
import { estimateValues } from "./resample.ts";
import { baseSpread, groupRuns, type RunGroup, sweepOf } from "./select-runs.ts";

/*
 * Does a divergence buy more than stopping sooner? Along the training of a run without one, every trained reward on the way up is a place to stop. A run with a divergence is
 * compared with the first place at which the run without one had the same trained reward. Gains are in standard deviations of the base model.
 */

export const matchedMetrics = ["gold", "judge"] as const;

/** Gold and judge as functions of the trained reward, along training. */
export interface RewardPath {
  readonly reward: TrainedReward;
  readonly method: Method;
  readonly beta: number;
  readonly seeds: number;
  /** Means over seeds at every evaluation: trained gain, and the gains of what is never trained on. */
  readonly points: readonly { readonly trained: number; readonly gold: number; readonly judge: number }[];
}

export interface MatchedRow {
  readonly reward: TrainedReward;
  readonly method: DivergenceMethod;
  readonly beta: number;
  readonly isChosen: boolean;
  readonly metric: (typeof matchedMetrics)[number];
  readonly trainedGain: number;
  /** Seeds that have a match. */
  readonly seeds: readonly number[];
  /** Gain at the end minus that of stopping the run without a divergence at the same trained reward; one number per seed of `seeds`. */
  readonly differences: readonly number[];
  readonly difference: Estimate;
  /** Seeds whose trained reward no run without a divergence ever reached. */
  readonly unmatched: number;
}

export interface MatchedReward {
  readonly paths: readonly RewardPath[];
  readonly rows: readonly MatchedRow[];
  /** Over all rewards and chosen betas of one divergence, and over all of them (`method` null). */
  readonly pooled: readonly { readonly method: DivergenceMethod | null; readonly metric: (typeof matchedMetrics)[number]; readonly rewards: number; readonly difference: Estimate | null }[];
}

const gainLine = (run: RunRecord, base: BaseRecord, metric: string): Line => lineOf(run, (point) => point.iteration, ({ scores }) => (scores[metric] === undefined ? undefined : scores[metric].gain / baseSpread(base, "emoji", metric)));

/** The gain of `metric` where the trained gain first reached `level`; undefined when it never did. */
export function gainAtReward(trained: Line, metric: Line, level: number): number | undefined {
  const at = firstReach(trained, level);
  return Number.isFinite(at) ? interpolate(metric, at) : undefined;
}

function pathOf(group: RunGroup, base: BaseRecord): RewardPath | undefined {
  const of = (metric: string): Line => meanLine(group.runs.map((run) => gainLine(run, base, metric)));
  const [trained, gold, judge] = [of(group.reward), of("gold"), of("judge")];
  if (trained.x.length === 0 || gold.x.length === 0 || judge.x.length === 0) return undefined;
  const points = trained.x.map((at, index) => ({ trained: trained.y[index]!, gold: interpolate(gold, at), judge: interpolate(judge, at) }));
  return { reward: group.reward, method: group.method, beta: typeof group.beta === "number" ? group.beta : 0, seeds: group.runs.length, points };
}

/**
 * A seed's difference: against the run without a divergence of the same seed where there is one (its prompts and noise are the same), otherwise against the mean over all seeds that
 * reached the reward.
 */
function seedDifference(run: RunRecord, plain: readonly RunRecord[], base: BaseRecord, metric: string): number | undefined {
  const { reward, seed } = run.spec;
  const level = gainLine(run, base, reward).y.at(-1);
  const own = gainLine(run, base, metric).y.at(-1);
  if (level === undefined || own === undefined) return undefined;
  const same = plain.filter(({ spec }) => spec.seed === seed);
  const stopped = (same.length > 0 ? same : plain).flatMap((other) => gainAtReward(gainLine(other, base, reward), gainLine(other, base, metric), level) ?? []);
  return stopped.length === 0 ? undefined : own - meanOf(stopped);
}

/** The comparison at equal trained reward for every reward that has runs without a divergence. */
export function matchedReward(records: readonly RunRecord[], base: BaseRecord, choices: readonly BetaChoice[]): MatchedReward {
  const groups = groupRuns(records);
  const rows: MatchedRow[] = [];
  const paths: RewardPath[] = [];
  for (const reward of trainedRewards) {
    const plain = groups.find((group) => group.reward === reward && group.method === "rocm-none");
    if (plain === undefined) continue;
    paths.push(...[pathOf(plain, base)].flatMap((path) => path ?? []));
    for (const method of divergenceMethods) {
      for (const group of sweepOf(groups, reward, method)) {
        paths.push(...[pathOf(group, base)].flatMap((path) => path ?? []));
        for (const metric of matchedMetrics) {
          const found = group.runs.flatMap((run) => {
            const difference = seedDifference(run, plain.runs, base, metric);
            return difference === undefined ? [] : [{ seed: run.spec.seed, difference }];
          });
          const differences = found.map(({ difference }) => difference);
          const trainedGain = meanOf(group.runs.map((run) => gainLine(run, base, reward).y.at(-1) ?? Number.NaN));
          rows.push({ reward, method, beta: group.beta as number, isChosen: chosenBeta(choices, reward, method) === group.beta, metric, trainedGain, seeds: found.map(({ seed }) => seed), differences, difference: estimateValues(differences), unmatched: group.runs.length - differences.length });
        }
      }
    }
  }
  const pooled = [...divergenceMethods, null].flatMap((method) =>
    matchedMetrics.map((metric) => {
      // Divergences of one reward and seed share the run without one, so they are averaged first: a unit is a reward and a seed.
      const found = rows.filter((row) => row.isChosen && row.metric === metric && (method === null || row.method === method));
      const units = new Map<string, number[]>();
      for (const { reward, seeds, differences } of found) for (const [index, seed] of seeds.entries()) units.set(`${reward}/${seed}`, [...(units.get(`${reward}/${seed}`) ?? []), differences[index]!]);
      const rewards = new Set(found.filter(({ differences }) => differences.length > 0).map(({ reward }) => reward)).size;
      return { method, metric, rewards, difference: units.size === 0 ? null : estimateValues([...units.values()].map(meanOf)) };
    }),
  );
  return { paths, rows, pooled };
}
