import type { BootstrapOptions } from "../../evaluate/bootstrap.ts";
import type { Estimate } from "../../evaluate/cluster-statistics.ts";
import { type BetaChoice, chosenBeta, heldOutMetrics } from "../choose-beta.ts";
import { baseOf, type BaseRecord, isDivergenceMethod, type Method, methods, type RunRecord, type TrainedReward } from "../run-record.ts";
import { estimateSeeds, interpolate, lineOf } from "./curves.ts";
import { drawPrompts, estimateOf, type PromptDraws, sampleGrid, type Sampled, sideOf, subtract } from "./resample.ts";
import { baseScores, finalGrid, gainGrid, groupName, groupRuns, rowOf, type RunGroup, standardGainGrid } from "./select-runs.ts";

/** A method's value of one metric. */
export interface MethodCell {
  readonly score: Estimate;
  /** Over the method's own base model on equal noise. */
  readonly gain: Estimate;
  /** The best of the column, or its difference to the best cannot be told from 0 (95 % interval). */
  readonly isBest: boolean;
}

export interface MethodRow {
  readonly method: Method;
  readonly beta: number | "auto" | null;
  readonly seeds: readonly number[];
  readonly iterations: number;
  readonly trainSeconds: number;
  readonly rewardEvaluations: number;
  readonly cells: Readonly<Record<string, MethodCell>>;
  /** Mean gain over the held-out metrics in standard deviations of the own base model; null in the table of equal evaluations. */
  readonly heldOut: { readonly gain: Estimate; readonly isBest: boolean } | null;
}

/** One of the four tables of Table 1. */
export interface MethodTable {
  readonly reward: TrainedReward;
  /** Columns: the paper's metrics without the trained one, the trained one, and what is never trained on. */
  readonly heldOut: readonly string[];
  readonly unseen: readonly string[];
  readonly prompts: number | null;
  readonly bases: readonly { readonly model: "emoji" | "emoji-teacher"; readonly scores: Readonly<Record<string, Estimate>> }[];
  readonly rows: readonly MethodRow[];
  /** Trainings that broke off and so are missing from the rows. */
  readonly brokeOff: readonly string[];
  /** Reward evaluations at which the rows were read; null: each at the end of its training. */
  readonly atEvaluations: number | null;
}

/** Columns beside the paper's metrics. */
export const unseenMetrics: readonly string[] = ["gold", "judge"];

/** What a group's runs cost by their end. */
function end({ runs }: RunGroup): Pick<MethodRow, "iterations" | "trainSeconds" | "rewardEvaluations"> {
  const { spec, secondsPerIteration, rewardEvaluationsPerIteration } = runs[0]!;
  return { iterations: spec.iterations, trainSeconds: spec.iterations * secondsPerIteration, rewardEvaluations: spec.iterations * rewardEvaluationsPerIteration };
}

/** Trainings of a reward's rows that should have been scored and were not. */
function brokenOff(records: readonly RunRecord[], reward: TrainedReward, choices: readonly BetaChoice[]): string[] {
  const isRow = ({ spec }: RunRecord): boolean => (spec.part === "main" || spec.part === "sweep") && (!isDivergenceMethod(spec.method) || spec.beta === chosenBeta(choices, reward, spec.method));
  return records.filter((record) => record.spec.reward === reward && record.spec.isScored && record.final === null && isRow(record)).map(({ spec }) => spec.id).sort();
}

/** Marks the largest, and those whose difference to it holds 0. */
function markBest(samples: readonly Sampled[]): boolean[] {
  if (samples.length === 0) return [];
  const best = samples.reduce((first, second) => (second.mean > first.mean ? second : first));
  return samples.map((sample) => sample === best || sideOf(estimateOf(subtract(best, sample))) < 1);
}

function rowsAtEnd(groups: readonly RunGroup[], base: BaseRecord, reward: TrainedReward, draws: PromptDraws): MethodRow[] {
  const metrics = [...heldOutMetrics(reward), reward, ...unseenMetrics];
  const columns = new Map(
    metrics.map((metric) => {
      const scores = groups.map((group) => sampleGrid(finalGrid(group, base, metric), draws, groupName(group)));
      const gains = groups.map((group) => estimateOf(sampleGrid(gainGrid(group, base, metric), draws, groupName(group))));
      const best = markBest(scores);
      return [metric, groups.map((_, index): MethodCell => ({ score: estimateOf(scores[index]!), gain: gains[index]!, isBest: best[index]! }))] as const;
    }),
  );
  const heldOut = groups.map((group) => sampleGrid(standardGainGrid(group, base, heldOutMetrics(reward)), draws, groupName(group)));
  const best = markBest(heldOut);
  return groups.map((group, index) => ({
    method: group.method,
    beta: group.beta,
    seeds: group.runs.map(({ spec }) => spec.seed),
    ...end(group),
    cells: Object.fromEntries(metrics.map((metric) => [metric, columns.get(metric)![index]!])),
    heldOut: { gain: estimateOf(heldOut[index]!), isBest: best[index]! },
  }));
}

function baseRows(base: BaseRecord, metrics: readonly string[], draws: PromptDraws): MethodTable["bases"] {
  // A part of the experiment that tunes one of them measures that one alone.
  const measured = (["emoji", "emoji-teacher"] as const).filter((model) => Object.keys(base.scores[model]).length > 0);
  return measured.map((model) => ({
    model,
    scores: Object.fromEntries(metrics.map((metric) => [metric, estimateOf(sampleGrid([baseScores(base, model, metric)], draws, model))])),
  }));
}

/**
 * Table 1 for one reward: every method at the end of its training (equal time) on the final prompts.
 * @throws UsageError `record-metric`, `record-prompts` for records that do not fit `base`
 */
export function methodTable(records: readonly RunRecord[], base: BaseRecord, reward: TrainedReward, choices: readonly BetaChoice[], options: BootstrapOptions): MethodTable {
  const draws = drawPrompts(base.prompts.length, options);
  const all = groupRuns(records);
  const groups = methods.flatMap((method) => rowOf(all, choices, reward, method) ?? []);
  const heldOut = heldOutMetrics(reward);
  return { reward, heldOut, unseen: unseenMetrics, prompts: base.prompts.length, bases: baseRows(base, [...heldOut, reward, ...unseenMetrics], draws), rows: rowsAtEnd(groups, base, reward, draws), brokeOff: brokenOff(records, reward, choices), atEvaluations: null };
}

/** Mean and gain of one metric at a number of reward evaluations, between the neighbouring evaluations of the curve. */
function cellAt({ runs }: RunGroup, metric: string, evaluations: number): Omit<MethodCell, "isBest"> | undefined {
  const read = (value: "mean" | "standardError" | "gain" | "gainStandardError"): number[] => runs.map((run) => interpolate(lineOf(run, (point) => point.rewardEvaluations, ({ scores }) => scores[metric]?.[value]), evaluations));
  const score = read("mean");
  if (score.some(Number.isNaN)) return undefined;
  return { score: estimateSeeds(score, read("standardError")), gain: estimateSeeds(read("gain"), read("gainStandardError")) };
}

/**
 * Table 1 at equal numbers of reward evaluations: the largest that every method reached, read from the training curves (fewer prompts than the final evaluation). Differences between
 * methods are taken as independent, which is on the wide side, because curves keep no single prompts.
 */
export function equalEvaluationsTable(records: readonly RunRecord[], base: BaseRecord, reward: TrainedReward, choices: readonly BetaChoice[], options: BootstrapOptions): MethodTable {
  const draws = drawPrompts(base.prompts.length, options);
  const all = groupRuns(records);
  const groups = methods.flatMap((method) => rowOf(all, choices, reward, method) ?? []);
  const metrics = [...heldOutMetrics(reward), reward, ...unseenMetrics];
  const reached = Math.min(...groups.flatMap(({ runs }) => runs.map(({ curve }) => curve.at(-1)?.rewardEvaluations ?? 0)));
  const atEvaluations = groups.length === 0 ? 0 : reached;
  const columns = metrics.map((metric) => {
    const cells = groups.map((group) => cellAt(group, metric, atEvaluations));
    const best = cells.reduce((first, second) => (second !== undefined && (first === undefined || second.score.mean > first.score.mean) ? second : first), undefined);
    return cells.map((cell): MethodCell | undefined => {
      if (cell === undefined || best === undefined) return undefined;
      const reach = Math.hypot(best.score.mean - best.score.low!, cell.score.high! - cell.score.mean);
      return { ...cell, isBest: best.score.mean - cell.score.mean <= reach };
    });
  });
  const rows = groups.map((group, index): MethodRow => {
    const share = atEvaluations / Math.max(1, end(group).rewardEvaluations);
    return {
      method: group.method,
      beta: group.beta,
      seeds: group.runs.map(({ spec }) => spec.seed),
      iterations: share * end(group).iterations,
      trainSeconds: share * end(group).trainSeconds,
      rewardEvaluations: atEvaluations,
      cells: Object.fromEntries(metrics.flatMap((metric, column) => (columns[column]![index] === undefined ? [] : [[metric, columns[column]![index]]]))),
      heldOut: null,
    };
  });
  return { reward, heldOut: heldOutMetrics(reward), unseen: unseenMetrics, prompts: null, bases: baseRows(base, metrics, draws), rows, brokeOff: brokenOff(records, reward, choices), atEvaluations };
}

/** A row of Table 4. */
export interface BaseRow {
  readonly model: "emoji" | "emoji-teacher";
  /** The reward a diffusion baseline was trained on; null for the base models themselves. */
  readonly reward: TrainedReward | null;
  readonly method: Method | null;
  readonly seeds: number;
  readonly cells: Readonly<Record<string, { readonly score: Estimate; readonly gain: Estimate | null }>>;
}

/** Table 4: the two base models on every metric, then the diffusion baselines with their difference to the diffusion model. */
export function baseTable(records: readonly RunRecord[], base: BaseRecord, metrics: readonly string[], options: BootstrapOptions): BaseRow[] {
  const draws = drawPrompts(base.prompts.length, options);
  const models = baseRows(base, metrics, draws).map(({ model, scores }): BaseRow => ({
    model,
    reward: null,
    method: null,
    seeds: 0,
    cells: Object.fromEntries(metrics.map((metric) => [metric, { score: scores[metric]!, gain: null }])),
  }));
  const baselines = groupRuns(records).filter(({ method }) => baseOf(method) === "emoji-teacher");
  const rows = baselines.map((group): BaseRow => ({
    model: "emoji-teacher",
    reward: group.reward,
    method: group.method,
    seeds: group.runs.length,
    cells: Object.fromEntries(
      metrics.map((metric) => {
        const estimate = (grid: ReturnType<typeof finalGrid>): Estimate => estimateOf(sampleGrid(grid, draws, groupName(group)));
        return [metric, { score: estimate(finalGrid(group, base, metric)), gain: estimate(gainGrid(group, base, metric)) }];
      }),
    ),
  }));
  return [...models, ...rows];
}
