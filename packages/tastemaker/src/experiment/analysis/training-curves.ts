import type { Estimate } from "../../evaluate/cluster-statistics.ts";
import { type BetaChoice, heldOutMetrics } from "../choose-beta.ts";
import { type BaseRecord, baseOf, type Method, methods, type RunRecord, type TrainedReward, trainedRewards } from "../run-record.ts";
import { estimateSeeds, interpolate, type Line, lineOf, meanLine } from "./curves.ts";
import { baseSpread, groupRuns, rowOf, type RunGroup } from "./select-runs.ts";

/** A line of Fig. 5 with its band of 95 %. */
export interface TrainingCurve {
  readonly reward: TrainedReward;
  readonly method: Method;
  readonly beta: number | "auto" | null;
  /** A metric of the records (its gain over the own base model, in its unit), or `held-out`: the mean gain over the paper's metrics that are not trained on, in standard deviations of the own base model. */
  readonly metric: string;
  readonly seeds: number;
  readonly points: readonly { readonly trainSeconds: number; readonly rewardEvaluations: number; readonly score: Estimate }[];
}

/** Name of the mean over the metrics that are not trained on. */
export const heldOutName = "held-out";

/**
 * Held-out gain along a run's curve, in standard deviations of the own base model over the final prompts.
 * @param of `gain`: over the own base. `score`: over the consistency model's mean, for comparing methods of different base models.
 */
export function heldOutLine(run: RunRecord, base: BaseRecord, of: "gain" | "score", abscissa: "trainSeconds" | "rewardEvaluations" = "trainSeconds"): Line {
  const { reward, method } = run.spec;
  const model = of === "gain" ? baseOf(method) : "emoji";
  const units = heldOutMetrics(reward).map((metric) => {
    const scores = base.scores[model][metric] ?? [];
    return { metric, spread: baseSpread(base, model, metric), mean: scores.reduce((sum, score) => sum + score, 0) / scores.length };
  });
  return lineOf(
    run,
    (point) => point[abscissa],
    ({ scores }) => {
      const gains = units.flatMap(({ metric, spread, mean }) => (scores[metric] === undefined ? [] : [(of === "gain" ? scores[metric].gain : scores[metric].mean - mean) / spread]));
      return gains.length < units.length ? undefined : gains.reduce((sum, gain) => sum + gain, 0) / gains.length;
    },
  );
}

/** Standard error of `heldOutLine` between prompts. Errors of a picture's metrics go together, so they are averaged as they are: on the wide side. */
function heldOutErrorLine(run: RunRecord, base: BaseRecord): Line {
  const metrics = heldOutMetrics(run.spec.reward);
  return lineOf(
    run,
    (point) => point.trainSeconds,
    ({ scores }) => metrics.reduce((sum, metric) => sum + (scores[metric]?.gainStandardError ?? Number.NaN) / baseSpread(base, baseOf(run.spec.method), metric), 0) / metrics.length,
  );
}

function curveOf(group: RunGroup, base: BaseRecord, metric: string): TrainingCurve | undefined {
  const { reward, method, beta, runs } = group;
  const isHeldOut = metric === heldOutName;
  const lines = runs.map((run) => (isHeldOut ? heldOutLine(run, base, "gain") : lineOf(run, (point) => point.trainSeconds, ({ scores }) => scores[metric]?.gain)));
  if (lines.some(({ x }) => x.length === 0)) return undefined;
  const errors = runs.map((run) => (isHeldOut ? heldOutErrorLine(run, base) : lineOf(run, (point) => point.trainSeconds, ({ scores }) => scores[metric]?.gainStandardError)));
  const evaluations = lineOf(runs[0]!, (point) => point.trainSeconds, (point) => point.rewardEvaluations);
  const points = meanLine(lines).x.map((trainSeconds) => ({
    trainSeconds,
    rewardEvaluations: interpolate(evaluations, trainSeconds),
    score: estimateSeeds(lines.map((line) => interpolate(line, trainSeconds)), errors.map((line) => interpolate(line, trainSeconds))),
  }));
  return { reward, method, beta, metric, seeds: runs.length, points };
}

/** Fig. 5: every metric of every row of Table 1 against training time. */
export function trainingCurves(records: readonly RunRecord[], base: BaseRecord, choices: readonly BetaChoice[], metrics: readonly string[]): TrainingCurve[] {
  const groups = groupRuns(records);
  return trainedRewards.flatMap((reward) =>
    methods.flatMap((method) => {
      const group = rowOf(groups, choices, reward, method);
      return group === undefined ? [] : [heldOutName, ...metrics].flatMap((metric) => curveOf(group, base, metric) ?? []);
    }),
  );
}
