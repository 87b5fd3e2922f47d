import { meanOf } from "../report/paired-statistics.ts";
import { spreadOf } from "../train/evaluation-history.ts";
import { type BaseRecord, baseOf, type DivergenceMethod, divergenceMethods, type Method, paperMetrics, type RunRecord, type TrainedReward, trainedRewards } from "./run-record.ts";

/** What one beta of a sweep reached. */
export interface BetaCandidate {
  readonly beta: number;
  /** Mean over seeds of the held-out gain; −Infinity where a run broke off. */
  readonly gain: number;
  readonly seeds: number;
}

/** The beta that a sweep recommends for one reward and divergence. */
export interface BetaChoice {
  readonly reward: TrainedReward;
  readonly method: DivergenceMethod;
  readonly beta: number;
  readonly gain: number;
  /** Every beta of the sweep, increasing. */
  readonly candidates: readonly BetaCandidate[];
}

/** The paper's metrics that a run does not train on. */
export function heldOutMetrics(reward: TrainedReward): readonly string[] {
  return paperMetrics.filter((name) => name !== reward);
}

/** Mean gain of the final scores over the paper's metrics that are not trained on, in standard deviations of the base model's; undefined without final scores. */
export function finalHeldOutGain({ spec, final }: Pick<RunRecord, "spec" | "final">, base: BaseRecord): number | undefined {
  if (final === null) return undefined;
  const before = base.scores[baseOf(spec.method)];
  const gains = heldOutMetrics(spec.reward).flatMap((name) => {
    const [first, last] = [before[name], final[name]];
    if (first === undefined || last === undefined) return [];
    const deviation = spreadOf(first);
    return deviation > 0 ? [(meanOf(last) - meanOf(first)) / deviation] : [];
  });
  return gains.length === 0 ? undefined : meanOf(gains);
}

/**
 * The beta of Table 1 for every reward and divergence that has a sweep: the highest `finalHeldOutGain`, mean over seeds; of equals the smaller.
 *
 * Only runs of the part `sweep` count, so runs that are added later for the chosen beta never change the choice. Neither the gold preference nor the judge is looked at. A run that broke
 * off loses to every other.
 */
export function chooseBeta(records: readonly RunRecord[], base: BaseRecord): BetaChoice[] {
  // Sums of floating point depend on the order of their terms; the choice must not depend on that of the records.
  const ordered = [...records].sort((a, b) => (a.spec.id < b.spec.id ? -1 : 1));
  return trainedRewards.flatMap((reward) =>
    divergenceMethods.flatMap((method) => {
      const gains = new Map<number, number[]>();
      for (const record of ordered) {
        const { spec } = record;
        if (spec.part !== "sweep" || spec.reward !== reward || spec.method !== method || typeof spec.beta !== "number") continue;
        const gain = finalHeldOutGain(record, base);
        gains.set(spec.beta, [...(gains.get(spec.beta) ?? []), gain !== undefined && Number.isFinite(gain) ? gain : Number.NEGATIVE_INFINITY]);
      }
      const candidates = [...gains].sort(([a], [b]) => a - b).map(([beta, list]) => ({ beta, gain: meanOf(list), seeds: list.length }));
      if (candidates.every(({ gain }) => gain === Number.NEGATIVE_INFINITY)) return [];
      const best = candidates.reduce((first, second) => (second.gain > first.gain ? second : first));
      return [{ reward, method, beta: best.beta, gain: best.gain, candidates }];
    }),
  );
}

/**
 * The betas of Table 1's rows: the sweep's choice, but where the part `main` has runs of one beta that one, because these are the row's seeds, whatever chose it.
 */
export function tableBetas(records: readonly RunRecord[], base: BaseRecord): BetaChoice[] {
  return chooseBeta(records, base).map((choice) => {
    const trained = new Set(records.flatMap(({ spec }) => (spec.part === "main" && spec.reward === choice.reward && spec.method === choice.method && typeof spec.beta === "number" ? [spec.beta] : [])));
    const [beta] = trained;
    if (beta === undefined || trained.size > 1) return choice;
    return { ...choice, beta, gain: choice.candidates.find((candidate) => candidate.beta === beta)?.gain ?? choice.gain };
  });
}

/** The recommended beta; undefined where there is no sweep or the method has no beta. */
export function chosenBeta(choices: readonly BetaChoice[], reward: TrainedReward, method: Method): number | undefined {
  return choices.find((choice) => choice.reward === reward && choice.method === method)?.beta;
}
