import { meanOf, standardErrorOf } from "../report/paired-statistics.ts";
import type { WatchVerdict } from "../report/report-data.ts";
import { type EvaluationHistory, type Look, pairedDifferences, type PromptScores, spreadOf, trainedTotals, type WatchedMetric, type WeightedMetric } from "./evaluation-history.ts";

export interface BestSetup {
  readonly trained: readonly WeightedMetric[];
  /** Metrics that are not trained on; diversity is not among them. */
  readonly heldOut: readonly WatchedMetric[];
  /** Every metric that can be named, with its direction. */
  readonly known: readonly WatchedMetric[];
  /** `held-out`, `reward`, or a metric's name. */
  readonly by: string;
}

/**
 * Mean over the held-out metrics of every prompt's score in standard deviations of the base model's scores, higher is better; undefined without any. The
 * standard deviations are fixed, so differences of it are mean improvements.
 */
function heldOutMeans(scores: PromptScores, scales: PromptScores, heldOut: readonly WatchedMetric[]): number[] | undefined {
  const lists = heldOut.flatMap(({ name, higherIsBetter = true }) => {
    const spread = spreadOf(scales[name] ?? []);
    const values = scores[name];
    if (values === undefined) return [];
    const factor = (higherIsBetter ? 1 : -1) / (spread > 0 ? spread : 1);
    return [values.map((value) => factor * value)];
  });
  return lists[0]?.map((_, index) => meanOf(lists.map((list) => list[index]!)));
}

function meanTotal({ scores }: Look, trained: readonly WeightedMetric[]): number {
  const totals = trainedTotals(scores, trained);
  return totals === undefined ? Number.NEGATIVE_INFINITY : meanOf(totals);
}

/**
 * Standard errors of the paired difference that a look may lie below the best one. Breiman's rule takes one, of the mean itself; the paired error is
 * several times smaller, and the best of many looks is partly so by luck.
 */
const tolerance = 2;

/** Whether `values` is at most the tolerance below `champion`. */
function isNear(values: readonly number[] | undefined, champion: readonly number[] | undefined): boolean {
  const differences = pairedDifferences(champion, values);
  if (differences === undefined) return false;
  return meanOf(differences) >= -(differences.length < 2 ? 0 : tolerance * standardErrorOf(differences));
}

/**
 * Iteration of the checkpoint to keep after the newest look: that of the newest look or the one kept before.
 *
 * `held-out` follows the one-standard-error rule (Breiman, Friedman, Olshen, Stone 1984): of the looks whose mean over the held-out metrics cannot be told from
 * the best such mean (two standard errors of the paired difference), the one with the highest trained reward. A look at which the watch sees a
 * drop does not count. Without held-out metrics the trained reward decides alone. `reward` and a metric's name take the highest mean.
 *
 * @param verdict the watch's on the newest look
 */
export function chooseBest({ base, looks, best }: EvaluationHistory, verdict: WatchVerdict, { trained, heldOut, known, by }: BestSetup): number | undefined {
  const newest = looks.at(-1);
  if (newest === undefined) return best;
  const previous = looks.find(({ iteration }) => iteration === best);
  if (previous === undefined) return newest.iteration;
  const higher = (value: (look: Look) => number): number => (value(newest) > value(previous) ? newest.iteration : previous.iteration);
  const reward = (look: Look): number => meanTotal(look, trained);
  if (by === "reward") return higher(reward);
  if (by !== "held-out") {
    const sign = known.find(({ name }) => name === by)?.higherIsBetter === false ? -1 : 1;
    return higher(({ scores }) => (scores[by] === undefined ? Number.NEGATIVE_INFINITY : sign * meanOf(scores[by])));
  }
  if (verdict.state !== "quiet") return previous.iteration;
  const scales = base ?? looks[0]!.scores;
  const meansOf = ({ scores }: Look): number[] | undefined => heldOutMeans(scores, scales, heldOut);
  const all = looks.map(meansOf);
  const champion = all.reduce((first, second) => (second !== undefined && (first === undefined || meanOf(second) > meanOf(first)) ? second : first), undefined);
  if (champion === undefined) return higher(reward);
  if (!isNear(all.at(-1), champion)) return previous.iteration;
  return isNear(meansOf(previous), champion) ? higher(reward) : newest.iteration;
}
