import { comparePairs, type PairedComparison } from "../report/paired-statistics.ts";
import type { MetricsLine } from "../report/report-data.ts";

/** Per metric one number per held-out prompt, before any sign or weight; entry i always belongs to prompt i. */
export type PromptScores = Readonly<Record<string, readonly number[]>>;

/** One evaluation of the tuned model. */
export interface Look {
  /** Iterations finished. */
  readonly iteration: number;
  readonly scores: PromptScores;
}

/** All evaluations of a run on the same prompts and noise, oldest first. */
export interface EvaluationHistory {
  /** The base model; undefined when it was never scored prompt by prompt. */
  readonly base: PromptScores | undefined;
  readonly looks: readonly Look[];
  /** Iteration of the checkpoint chosen as the best after the last look. */
  readonly best: number | undefined;
}

/** A metric and the weight with which training raises it. */
export interface WeightedMetric {
  readonly name: string;
  readonly weight: number;
}

/** A metric that nothing raises on purpose. */
export interface WatchedMetric {
  readonly name: string;
  /** Default true. */
  readonly higherIsBetter?: boolean;
}

/** The evaluations that lines of `metrics.jsonl` hold; lines without scores per prompt are skipped. */
export function historyOf(lines: readonly MetricsLine[]): EvaluationHistory {
  let history: EvaluationHistory = { base: undefined, looks: [], best: undefined };
  for (const line of lines) history = withLine(history, line);
  return history;
}

/** The history after one more line. */
export function withLine(history: EvaluationHistory, { iteration, promptScores, promptScoresBefore, best }: MetricsLine): EvaluationHistory {
  return {
    base: promptScoresBefore ?? history.base,
    looks: promptScores === undefined ? history.looks : [...history.looks, { iteration, scores: promptScores }],
    best: best ?? history.best,
  };
}

/** The trained sum per prompt; undefined when a reward is missing. */
export function trainedTotals(scores: PromptScores, trained: readonly WeightedMetric[]): number[] | undefined {
  const lists = trained.map(({ name }) => scores[name]);
  const first = lists[0];
  if (first === undefined || lists.some((list) => list?.length !== first.length)) return undefined;
  return first.map((_, index) => trained.reduce((total, { weight }, term) => total + weight * lists[term]![index]!, 0));
}

/** `current − reference` prompt by prompt; undefined when one is missing or not finite, or the lists do not belong together. */
export function pairedDifferences(reference: readonly number[] | undefined, current: readonly number[] | undefined): number[] | undefined {
  if (reference === undefined || current === undefined || reference.length !== current.length || current.length === 0) return undefined;
  const differences = current.map((value, index) => value - reference[index]!);
  return differences.every(Number.isFinite) ? differences : undefined;
}

/** The trained sum of the newest look compared with the base model's, prompt by prompt; undefined where one is missing. */
export function newestRise({ base, looks }: EvaluationHistory, trained: readonly WeightedMetric[]): PairedComparison | undefined {
  const scores = looks.at(-1)?.scores;
  const [before, now] = [base && trainedTotals(base, trained), scores && trainedTotals(scores, trained)];
  return before === undefined || pairedDifferences(before, now) === undefined ? undefined : comparePairs(before, now!);
}

/** Standard deviation over the prompts (n − 1); 0 below two numbers. */
export function spreadOf(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}
