import type { BootstrapOptions } from "../../evaluate/bootstrap.ts";
import type { Estimate } from "../../evaluate/cluster-statistics.ts";
import { meanOf } from "../../report/paired-statistics.ts";
import { type BaseRecord, type DivergenceMethod, divergenceMethods, type RunRecord, type TrainedReward, trainedRewards } from "../run-record.ts";
import { drawPrompts, estimateOf, type PromptDraws, sampleGrid, type Sampled, sideOf, subtract, widenFor } from "./resample.ts";
import { groupName, groupRuns, preferenceGrid, type RunGroup, sweepOf } from "./select-runs.ts";

/** How often the tuned picture is preferred to the base model's: by the trained reward and the judge (share of prompts, equals count half), and by the world's people (their probability). */
export interface PreferencePoint {
  /** 0: without a divergence. */
  readonly beta: number;
  readonly seeds: number;
  readonly predicted: Estimate;
  readonly gold: Estimate;
  readonly judge: Estimate;
  /** Summed divergence of the last iteration, mean over seeds. */
  readonly divergence: number;
}

/** Fig. 4 for one reward and divergence. */
export interface PreferenceCurve {
  readonly reward: TrainedReward;
  readonly method: DivergenceMethod;
  /** Increasing beta, 0 first where there are runs without a divergence. */
  readonly points: readonly PreferencePoint[];
  /** The beta of highest gold preference. */
  readonly best: number;
  /**
   * Gold preference at `best` minus that at the smallest and at the largest beta; null at that very end. `best` was chosen from several betas on the same prompts: the intervals are
   * widened for as many comparisons (`widenFor`).
   */
  readonly overSmallest: Estimate | null;
  readonly overLargest: Estimate | null;
  /** The optimum is inside, and better than both ends beyond their intervals. */
  readonly isInterior: boolean;
  /** Betas below `best` at which the trained reward is at least as pleased as at `best` and the gold preference is lower beyond its interval. */
  readonly hacked: readonly number[];
  /** Predicted preference at the smallest beta minus that at `best`; null when they are one. */
  readonly predictedRise: Estimate | null;
}

interface Cell {
  readonly group: RunGroup;
  readonly beta: number;
  readonly predicted: Sampled;
  readonly gold: Sampled;
  readonly judge: Sampled;
}

function cellOf(group: RunGroup, base: BaseRecord, draws: PromptDraws): Cell {
  const sample = (metric: string): Sampled => sampleGrid(preferenceGrid(group, base, metric), draws, groupName(group));
  return { group, beta: typeof group.beta === "number" ? group.beta : 0, predicted: sample(group.reward), gold: sample("gold"), judge: sample("judge") };
}

/** Fig. 4: preference against beta. A divergence of fewer than two betas (with 0) has no curve. */
export function preferenceByBeta(records: readonly RunRecord[], base: BaseRecord, options: BootstrapOptions): PreferenceCurve[] {
  const draws = drawPrompts(base.prompts.length, options);
  const groups = groupRuns(records);
  return trainedRewards.flatMap((reward) => {
    const plain = groups.filter((group) => group.reward === reward && group.method === "rocm-none").map((group) => cellOf(group, base, draws));
    return divergenceMethods.flatMap((method) => {
      const swept = sweepOf(groups, reward, method).map((group) => cellOf(group, base, draws));
      const cells = [...plain, ...swept];
      if (swept.length === 0 || cells.length < 2) return [];
      const best = cells.reduce((first, second) => (second.gold.mean > first.gold.mean ? second : first));
      const candidates = Math.max(1, cells.length - 2);
      const over = (end: Cell): Estimate | null => (end === best ? null : widenFor(estimateOf(subtract(best.gold, end.gold)), candidates));
      const [overSmallest, overLargest] = [over(cells[0]!), over(cells.at(-1)!)];
      const hacked = cells.filter((cell) => cell.beta < best.beta && cell.predicted.mean >= best.predicted.mean && sideOf(widenFor(estimateOf(subtract(best.gold, cell.gold)), candidates)) === 1);
      return [
        {
          reward,
          method,
          points: cells.map(({ group, beta, predicted, gold, judge }) => ({ beta, seeds: group.runs.length, predicted: estimateOf(predicted), gold: estimateOf(gold), judge: estimateOf(judge), divergence: meanOf(group.runs.map(({ lastDivergence }) => lastDivergence)) })),
          best: best.beta,
          overSmallest,
          overLargest,
          isInterior: overSmallest !== null && overLargest !== null && sideOf(overSmallest) === 1 && sideOf(overLargest) === 1,
          hacked: hacked.map(({ beta }) => beta),
          predictedRise: cells[0] === best ? null : estimateOf(subtract(cells[0]!.predicted, best.predicted)),
        },
      ];
    });
  });
}
