import type { MetricsLine } from "../report/report-data.ts";
import { type BestSetup, chooseBest } from "./best-checkpoint.ts";
import { heldOutPoints, recordedScores, type Scored } from "./evaluation.ts";
import type { EvaluationHistory } from "./evaluation-history.ts";
import { judgeLooks, type WatchSetup } from "./over-optimisation.ts";

/** How evaluations during training are judged. */
export interface EvaluationRules {
  /** Undefined: the watch is off. */
  readonly watch: WatchSetup | undefined;
  readonly best: BestSetup;
}

/** What the first line of `metrics.jsonl` says of the base model. */
export function lookAtBase(scored: Scored): Pick<MetricsLine, "heldOutBefore" | "promptScoresBefore"> {
  return { heldOutBefore: heldOutPoints(scored), promptScoresBefore: recordedScores(scored) };
}

/** What a line says of the tuned model: scores, the watch's verdict and the best checkpoint. A function of the scores and the lines before. */
export function lookAtTuned(scored: Scored, before: EvaluationHistory, iteration: number, { watch, best }: EvaluationRules): Pick<MetricsLine, "heldOut" | "promptScores" | "watch" | "best"> {
  const promptScores = recordedScores(scored);
  const history: EvaluationHistory = { ...before, looks: [...before.looks, { iteration, scores: promptScores }] };
  const verdict = watch && judgeLooks(history, watch);
  const chosen = chooseBest(history, verdict ?? { state: "quiet", findings: [] }, best);
  return { heldOut: heldOutPoints(scored), promptScores, ...(verdict && { watch: verdict }), ...(chosen === undefined ? {} : { best: chosen }) };
}
