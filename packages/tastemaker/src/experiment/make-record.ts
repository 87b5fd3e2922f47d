import type { WatchSetting } from "../config/train-config.ts";
import type { MetricsLine } from "../report/report-data.ts";
import { comparePairs, meanOf, standardErrorOf } from "../report/paired-statistics.ts";
import type { Environment } from "../storage/environment.ts";
import { historyOf, type PromptScores } from "../train/evaluation-history.ts";
import { judgeRun } from "./judge-run.ts";
import { rewardEvaluationsOf } from "./plan.ts";
import type { CurvePoint, CurveScore, RunRecord, RunSpec } from "./run-record.ts";

const orZero = (value: number): number => (Number.isFinite(value) ? value : 0);

function scoresAt(base: PromptScores, scores: PromptScores): Record<string, CurveScore> {
  return Object.fromEntries(
    Object.entries(scores).map(([name, values]) => {
      const { difference, differenceError } = comparePairs(base[name]!, values);
      return [name, { mean: meanOf(values), standardError: orZero(standardErrorOf(values)), gain: difference, gainStandardError: orZero(differenceError) }];
    }),
  );
}

/** The evaluations of a run on its held-out prompts, the untrained model first. None for a run that broke off before it scored anything. */
export function curveOf(lines: readonly MetricsLine[], secondsPerIteration: number, rewardEvaluationsPerIteration: number): CurvePoint[] {
  const { base, looks } = historyOf(lines);
  if (base === undefined) return [];
  return [{ iteration: 0, scores: base }, ...looks].map(({ iteration, scores }) => ({
    iteration,
    trainSeconds: iteration * secondsPerIteration,
    rewardEvaluations: iteration * rewardEvaluationsPerIteration,
    scores: scoresAt(base, scores),
  }));
}

/** What is known of a run besides its lines. */
export interface RunFacts {
  readonly command: string;
  readonly environment: Environment;
  readonly secondsPerIteration: number;
  readonly final: RunRecord["final"];
  readonly watch: WatchSetting;
}

/** The record of a run from its `metrics.jsonl`. */
export function makeRecord(spec: RunSpec, lines: readonly MetricsLine[], { command, environment, secondsPerIteration, final, watch }: RunFacts): RunRecord {
  const perIteration = rewardEvaluationsOf(spec);
  const last = lines.at(-1);
  return {
    format: "tastemaker-experiment-run/1",
    spec,
    command,
    environment,
    secondsPerIteration,
    rewardEvaluationsPerIteration: perIteration,
    curve: curveOf(lines, secondsPerIteration, perIteration),
    final,
    ...judgeRun(spec, historyOf(lines), watch),
    lastDivergence: last?.divergence ?? 0,
    lastBeta: last?.beta ?? 0,
  };
}
