import { meanOf } from "../report/paired-statistics.ts";
import { spreadOf } from "../train/evaluation-history.ts";
import type { Budget } from "./budget.ts";
import type { Calibration } from "./calibration.ts";
import { chooseBeta, chosenBeta, finalHeldOutGain, heldOutMetrics } from "./choose-beta.ts";
import { type RewardSpreads, searchTrials, sweepRuns, type SearchResult, type SweepResult } from "./plan.ts";
import { type BaseRecord, type DivergenceMethod, divergenceMethods, type RunRecord, type RunSpec, type TrainedReward } from "./run-record.ts";
import { type Searched } from "./selection.ts";

export type Records = ReadonlyMap<string, RunRecord>;

/** A candidate of a choice and what it was judged by. */
export interface Candidate {
  readonly id: string;
  readonly value: number;
  /** Null for a run that did not come to its end. */
  readonly score: number | null;
}

/** The candidate with the highest score; of equal ones the first. */
function bestOf(candidates: readonly Candidate[]): Candidate | undefined {
  let best: Candidate | undefined;
  for (const candidate of candidates) if (candidate.score !== null && (best === undefined || candidate.score > best.score!)) best = candidate;
  return best;
}

/** Gain after the last iteration in what the search maximises (of several metrics their mean), on held-out prompts, in standard errors of the untrained model's mean. */
function searchScore({ spec, curve }: RunRecord, by: Budget["searchBy"]): number | null {
  const [first, last] = [curve[0], curve.at(-1)];
  if (first === undefined || last === undefined || last.iteration !== spec.iterations) return null;
  const metrics = by === "held-out" ? heldOutMetrics(spec.reward) : [spec.reward];
  const gains = metrics.flatMap((metric) => {
    const [before, after] = [first.scores[metric], last.scores[metric]];
    return before === undefined || after === undefined ? [] : [before.standardError === 0 ? after.gain : after.gain / before.standardError];
  });
  return gains.length === 0 ? null : meanOf(gains);
}

/** The trials of a method on a reward; undefined while one is missing. */
export function searchCandidates(budget: Budget, calibration: Calibration, records: Records, reward: TrainedReward, name: Searched): Candidate[] | undefined {
  const candidates = searchTrials(budget, calibration, reward, name).map((spec): Candidate | undefined => {
    const record = records.get(spec.id);
    return record && { id: spec.id, value: spec.learningRate, score: searchScore(record, budget.searchBy) };
  });
  return candidates.every((candidate) => candidate !== undefined) ? candidates : undefined;
}

/**
 * The learning rate of every method for every reward: where a reward was searched the one with the highest gain (by `searchBy`), elsewhere the one with the highest gain on average over
 * those that were searched. A trial that broke off loses to every other.
 * @returns undefined while a trial is missing; a method of which every trial broke off has no rate
 */
export function chooseLearningRates(budget: Budget, calibration: Calibration, records: Records, names: readonly Searched[]): SearchResult | undefined {
  const result: Record<string, Partial<Record<Searched, number>>> = Object.fromEntries(budget.rewards.map((reward) => [reward, {}]));
  for (const name of names) {
    const found = budget.searchRewards.map((reward) => ({ reward, candidates: searchCandidates(budget, calibration, records, reward, name) }));
    if (found.some(({ candidates }) => candidates === undefined)) return undefined;
    const average = found[0]!.candidates!.map(({ id, value }, trial): Candidate => {
      const scores = found.map(({ candidates }) => candidates![trial]!.score);
      return { id, value, score: scores.includes(null) ? null : meanOf(scores as number[]) };
    });
    for (const reward of budget.rewards) {
      const own = found.find((one) => one.reward === reward)?.candidates;
      const best = bestOf(own ?? average);
      if (best !== undefined) result[reward]![name] = best.value;
    }
  }
  return result as SearchResult;
}

/** The sweep's runs of a divergence on a reward; undefined while one is missing. */
export function sweepCandidates(specs: readonly RunSpec[], records: Records, base: BaseRecord): Candidate[] | undefined {
  const candidates = specs.map((spec): Candidate | undefined => {
    const record = records.get(spec.id);
    return record && { id: spec.id, value: spec.beta as number, score: finalHeldOutGain(record, base) ?? null };
  });
  return candidates.every((candidate) => candidate !== undefined) ? candidates : undefined;
}

/** The sweep of a divergence on a reward as it was planned; undefined before its cost, its learning rate and the reward's spread are known. */
export function plannedSweep(budget: Budget, calibration: Calibration, spreads: RewardSpreads, search: SearchResult, reward: TrainedReward, method: DivergenceMethod): RunSpec[] | undefined {
  const [spread, rate] = [spreads[reward], search[reward]?.rocm];
  return spread === undefined || rate === undefined || calibration.secondsPerIteration[method] === undefined ? undefined : sweepRuns(budget, calibration, reward, method, spread, rate);
}

/** Beta of each divergence for each reward, by `chooseBeta`, where the sweep is complete. */
export function chooseBetas(budget: Budget, calibration: Calibration, base: BaseRecord, search: SearchResult, records: Records): SweepResult {
  const result: Partial<Record<TrainedReward, Partial<Record<DivergenceMethod, number>>>> = {};
  const spreads = rewardSpreads(budget, base);
  for (const reward of budget.rewards) {
    for (const method of divergenceMethods) {
      const specs = plannedSweep(budget, calibration, spreads, search, reward, method);
      const made = specs?.map(({ id }) => records.get(id)) ?? [];
      if (!made.every((record) => record !== undefined)) continue;
      const beta = chosenBeta(chooseBeta(made, base), reward, method);
      if (beta !== undefined) (result[reward] ??= {})[method] = beta;
    }
  }
  return result;
}

/** Spread of every reward over the consistency model's pictures, which ROCM's beta is measured in. */
export function rewardSpreads({ rewards }: Pick<Budget, "rewards">, base: BaseRecord): RewardSpreads {
  return Object.fromEntries(rewards.flatMap((reward) => (base.scores.emoji[reward] === undefined ? [] : [[reward, spreadOf(base.scores.emoji[reward]) || 1]])));
}
