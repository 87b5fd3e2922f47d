import { UsageError } from "@tastemaker/tensor";
import { preferenceProbability } from "../../worlds/emoji/gold-taste.ts";
import { spreadOf } from "../../train/evaluation-history.ts";
import { type BetaChoice, chosenBeta } from "../choose-beta.ts";
import { baseOf, type BaseRecord, isDivergenceMethod, type Method, type RunRecord, type TrainedReward } from "../run-record.ts";
import type { Grid } from "./resample.ts";

/** Trainings that differ in their seed only. */
export interface RunGroup {
  readonly reward: TrainedReward;
  readonly method: Method;
  readonly beta: number | "auto" | null;
  /** One per seed, increasing. */
  readonly runs: readonly RunRecord[];
}

/** Address of a group's draws of seeds. */
export function groupName({ reward, method, beta }: RunGroup): string {
  return `${reward}/${method}/${beta ?? "none"}`;
}

const settingsKey = ({ learningRate, iterations, settings }: RunRecord["spec"]): string => JSON.stringify([learningRate, iterations, Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1))]);

/**
 * The scored runs on the paper's prompts (search and animals are not), as groups of seeds. Where one reward, method and beta was trained in several ways (another number of
 * iterations, say), the way with the most seeds is taken, of equals the one that the part `main` has, then the first by name.
 */
export function groupRuns(records: readonly RunRecord[]): RunGroup[] {
  const cells = new Map<string, Map<string, RunRecord[]>>();
  const usable = records.filter(({ spec, final }) => final !== null && (spec.part === "sweep" || spec.part === "main" || spec.part === "auto"));
  for (const record of [...usable].sort((a, b) => (a.spec.id < b.spec.id ? -1 : 1))) {
    const { reward, method, beta } = record.spec;
    const cell = `${reward}/${method}/${beta ?? "none"}`;
    const ways = cells.get(cell) ?? new Map<string, RunRecord[]>();
    const way = settingsKey(record.spec);
    const runs = ways.get(way) ?? [];
    if (runs.every(({ spec }) => spec.seed !== record.spec.seed)) ways.set(way, [...runs, record]);
    cells.set(cell, ways);
  }
  return [...cells.values()].map((ways) => {
    const rank = (runs: readonly RunRecord[]): number => 2 * runs.length + Number(runs.some(({ spec }) => spec.part === "main"));
    const runs = [...ways.values()].reduce((first, second) => (rank(second) > rank(first) ? second : first)).sort((a, b) => a.spec.seed - b.spec.seed);
    const { reward, method, beta } = runs[0]!.spec;
    return { reward, method, beta, runs };
  });
}

/** The runs of a row of Table 1: with the chosen beta where the method has one. */
export function rowOf(groups: readonly RunGroup[], choices: readonly BetaChoice[], reward: TrainedReward, method: Method): RunGroup | undefined {
  const beta = isDivergenceMethod(method) ? chosenBeta(choices, reward, method) : null;
  return beta === undefined ? undefined : groups.find((group) => group.reward === reward && group.method === method && group.beta === beta);
}

/** All numeric betas of one divergence and reward, increasing. */
export function sweepOf(groups: readonly RunGroup[], reward: TrainedReward, method: Method): RunGroup[] {
  return groups.filter((group) => group.reward === reward && group.method === method && typeof group.beta === "number").sort((a, b) => (a.beta as number) - (b.beta as number));
}

/** The untrained model's score of every prompt. @throws UsageError `record-metric` */
export function baseScores(base: BaseRecord, model: "emoji" | "emoji-teacher", metric: string): readonly number[] {
  const scores = base.scores[model][metric];
  if (scores === undefined) throw new UsageError("record-metric", `base record: expected scores of ${metric} for ${model}, got ${Object.keys(base.scores[model]).join(", ")}`, "evaluate the base models again with all metrics");
  return scores;
}

/** Standard deviation of the untrained model's scores over the prompts; 1 when they do not vary. */
export function baseSpread(base: BaseRecord, model: "emoji" | "emoji-teacher", metric: string): number {
  return spreadOf(baseScores(base, model, metric)) || 1;
}

/** Final scores, seed by seed. @throws UsageError `record-metric`, `record-prompts` */
export function finalGrid({ runs }: RunGroup, base: BaseRecord, metric: string): Grid {
  return runs.map(({ spec, final }) => {
    const scores = final?.[metric];
    if (scores === undefined) throw new UsageError("record-metric", `record ${spec.id}: expected final scores of ${metric}, got ${Object.keys(final ?? {}).join(", ") || "none"}`, "evaluate the run again with all metrics");
    if (scores.length !== base.prompts.length) throw new UsageError("record-prompts", `record ${spec.id}: expected ${base.prompts.length} final scores of ${metric}, got ${scores.length}`, "the run and base.json must have been evaluated on the same prompts");
    return scores;
  });
}

/** Final scores minus the own base model's, on equal noise. */
export function gainGrid(group: RunGroup, base: BaseRecord, metric: string): Grid {
  const before = baseScores(base, baseOf(group.method), metric);
  return finalGrid(group, base, metric).map((row) => row.map((score, prompt) => score - before[prompt]!));
}

/**
 * Whether a metric prefers the tuned picture to the base model's: 1, 0, or ½ for equals. Of `gold` how likely one of the world's people prefers it, σ(gain): people hardly notice small
 * differences, and counting only signs would call a change that nobody sees a sure win.
 */
export function preferenceGrid(group: RunGroup, base: BaseRecord, metric: string): Grid {
  const preference = metric === "gold" ? (gain: number): number => preferenceProbability(gain, 0) : (gain: number): number => (gain > 0 ? 1 : gain < 0 ? 0 : 0.5);
  return gainGrid(group, base, metric).map((row) => row.map(preference));
}

/** Mean gain over several metrics, each in standard deviations of the own base model's scores over the prompts. */
export function standardGainGrid(group: RunGroup, base: BaseRecord, metrics: readonly string[]): Grid {
  const grids = metrics.map((metric) => {
    const spread = baseSpread(base, baseOf(group.method), metric);
    return gainGrid(group, base, metric).map((row) => row.map((gain) => gain / spread));
  });
  return grids[0]!.map((row, seed) => row.map((_, prompt) => grids.reduce((sum, grid) => sum + grid[seed]![prompt]!, 0) / grids.length));
}
