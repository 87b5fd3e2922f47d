import { InternalError } from "@tastemaker/tensor";
import { slopes } from "../train/beta-controller.ts";
import type { Budget } from "./budget.ts";
import type { Calibration } from "./calibration.ts";
import { baseOf, type DivergenceMethod, divergenceMethods, isDivergenceMethod, type Method, methods, type Part, type RunSpec, type TrainedReward } from "./run-record.ts";
import { everything, isWanted, type Searched, searched, searchedOf, type Selection } from "./selection.ts";

/** Learning rates found by the search. */
export type SearchResult = Readonly<Record<TrainedReward, Readonly<Partial<Record<Searched, number>>>>>;
/** Betas found by the sweep, where it is complete. */
export type SweepResult = Readonly<Partial<Record<TrainedReward, Readonly<Partial<Record<DivergenceMethod, number>>>>>>;
/** Standard deviation over the prompts of the base model's reward. */
export type RewardSpreads = Readonly<Partial<Record<TrainedReward, number>>>;

/** Each method's learning rate in its own code (docs/baselines.md); ROCM's is that of LoRA tuning in general. */
export const publishedRates: Readonly<Record<Searched, number>> = { rocm: 1e-4, rlcm: 1e-4, ddpo: 3e-4, d3po: 3e-5, dpok: 1e-5 };

/** Seed of the search, which no row of a table has: rates are chosen on other noise than they are judged on. */
export const searchSeed = 0;

/** Two digits are enough for a learning rate or a beta, and make names and tables readable. */
const neat = (value: number): number => Number(value.toPrecision(2));

/** Pictures of an iteration; their number times the cost of one decides what fits into a second. */
const picturesPerIteration = { rocm: 4, other: 8 } as const;

/** Pictures whose reward an iteration asks for. */
export function rewardEvaluationsOf({ settings }: Pick<RunSpec, "settings">): number {
  return Number(settings["policy.samplesPerIteration"] ?? settings["batchSize"]);
}

const kindOf = (method: DivergenceMethod): "js" | "kl" | "hellinger" | "fisher" => method.slice("rocm-".length) as "js" | "kl" | "hellinger" | "fisher";

/** Settings of a method. */
function methodSettings(method: Method): Record<string, unknown> {
  if (searchedOf(method) === "rocm") return { objective: "rocm", batchSize: picturesPerIteration.rocm, "divergence.kind": isDivergenceMethod(method) ? kindOf(method) : "none" };
  // D3PO's unit is a pair of pictures per prompt.
  return { objective: method, batchSize: method === "d3po" ? picturesPerIteration.other / 2 : picturesPerIteration.other, "policy.samplesPerIteration": picturesPerIteration.other };
}

/** Beta of a divergence: in the reward's spread, and for others than KL with the curvature that KL has with it. */
export function betaOf(method: DivergenceMethod, multiple: number, spread: number): number {
  return neat((multiple * spread * slopes.kl) / slopes[kindOf(method)]);
}

/** A metric as `evaluation.metrics` takes it. */
function metricSetting({ world }: Budget, name: string): string | { name: string; path: string } {
  const path = world.places[name];
  return path === undefined ? name : { name, path };
}

/** Training of one run of a method. */
export function trainSecondsOf({ trainSeconds, extras }: Budget, method: Method): number {
  return trainSeconds * (extras?.[searchedOf(method)]?.times ?? 1);
}

type Choice = Pick<RunSpec, "part" | "reward" | "method" | "beta" | "learningRate" | "seed" | "isScored"> & { readonly id: string };

/** @throws InternalError for a method that was not calibrated */
function specOf(budget: Budget, calibration: Calibration, choice: Choice): RunSpec {
  const seconds = calibration.secondsPerIteration[choice.method];
  if (seconds === undefined) throw new InternalError(`experiment: expected the seconds per iteration of ${choice.method}, got none`);
  return specOfLength(budget, Math.max(1, Math.round(trainSecondsOf(budget, choice.method) / seconds)), choice);
}

function specOfLength(budget: Budget, iterations: number, choice: Choice): RunSpec {
  const { world, curvePrompts } = budget;
  const { id, part, reward, method, beta, learningRate, seed, isScored } = choice;
  const every = Math.ceil(iterations / (baseOf(method) === "emoji" ? budget.looks : budget.diffusionLooks));
  const isAnimals = part === "animals";
  const settings: Record<string, unknown> = {
    ...world.settings,
    ...methodSettings(method),
    ...budget.extras?.[searchedOf(method)]?.settings,
    model: world.models[baseOf(method)],
    prompts: isAnimals ? world.animals : world.prompts,
    rewards: [metricSetting(budget, reward)].map((setting) => (typeof setting === "string" ? { name: setting } : setting)),
    // The figure shows pictures of the prompts that were trained on.
    "evaluation.prompts": isAnimals ? world.animals : world.heldOut,
    "evaluation.count": isAnimals ? world.animals.length : curvePrompts,
    "evaluation.every": every,
    "evaluation.metrics": world.metrics.filter((name) => name !== reward).map((name) => metricSetting(budget, name)),
    "checkpoint.every": every,
    "watch.action": "warn",
    threads: 1,
  };
  const sorted = Object.fromEntries(Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1)));
  return { id, part, reward, method, beta, learningRate, seed, iterations, isScored, settings: sorted };
}

/** Iterations of a calibration: the first compiles and warms up, the last evaluates, those between are measured. */
export const calibrationIterations = 5;
/** Pictures of a calibration's evaluation: one batch. */
export const calibrationPictures = 8;

/** A run that is made to be timed. */
export function calibrationSpec(budget: Budget, method: Method, copy: number): RunSpec {
  const beta = isDivergenceMethod(method) ? 1 : null;
  const spec = specOfLength(budget, calibrationIterations, { id: `calibration/${method}/${copy}`, part: "search", reward: budget.rewards[0]!, method, beta, learningRate: publishedRates[searchedOf(method)], seed: copy, isScored: false });
  return { ...spec, settings: { ...spec.settings, "evaluation.count": calibrationPictures, "evaluation.every": calibrationIterations } };
}

/** Learning rates of the search: the same multiples of every method's published one. */
export function searchRates({ searchFactors }: Budget, method: Searched): number[] {
  return searchFactors.map((factor) => neat(publishedRates[method] * factor));
}

/** Betas of a divergence's sweep. */
export function sweepBetas({ betas }: Budget, method: DivergenceMethod, spread: number): number[] {
  return betas.map((multiple) => betaOf(method, multiple, spread));
}

/** Trials of the search for one method on one reward. ROCM is searched with KL and its automatic beta. */
export function searchTrials(budget: Budget, calibration: Calibration, reward: TrainedReward, name: Searched): RunSpec[] {
  const method: Method = name === "rocm" ? "rocm-kl" : name;
  return searchRates(budget, name).map((learningRate) =>
    specOf(budget, calibration, { id: `search/${reward}/${name}/rate-${learningRate}/seed-${searchSeed}`, part: "search", reward, method, beta: name === "rocm" ? "auto" : null, learningRate, seed: searchSeed, isScored: false }),
  );
}

/** Runs of the sweep for one divergence on one reward, with Table 1's first seed. */
export function sweepRuns(budget: Budget, calibration: Calibration, reward: TrainedReward, method: DivergenceMethod, spread: number, learningRate: number): RunSpec[] {
  return sweepBetas(budget, method, spread).map((beta) => specOf(budget, calibration, { id: `sweep/${reward}/${method}/beta-${beta}/seed-1`, part: "sweep", reward, method, beta, learningRate, seed: 1, isScored: true }));
}

/** Runs of a row of Table 1. Of a divergence, the first is the sweep's with the chosen beta. */
export function mainRuns(budget: Budget, calibration: Calibration, reward: TrainedReward, method: Method, learningRate: number, beta: number | null): RunSpec[] {
  return Array.from({ length: budget.seeds }, (_, index): RunSpec => {
    const seed = index + 1;
    const shared = { reward, method, beta, learningRate, seed, isScored: true };
    if (beta !== null && seed === 1) return specOf(budget, calibration, { ...shared, id: `sweep/${reward}/${method}/beta-${beta}/seed-1`, part: "sweep" });
    return specOf(budget, calibration, { ...shared, id: `main/${reward}/${method}${beta === null ? "" : `/beta-${beta}`}/seed-${seed}`, part: "main" });
  });
}

function selectedRewards({ rewards }: Budget, selection: Selection): TrainedReward[] {
  return rewards.filter((reward) => selection.rewards.includes(reward));
}

const plannedParts: readonly Part[] = ["sweep", "main", "auto", "animals"];

/** Methods that a selection trains. */
export function neededMethods(budget: Budget, selection: Selection): Method[] {
  const rates = neededRates(budget, selection);
  const rewards = selectedRewards(budget, selection);
  return methods.filter((method) => (method === "rocm-kl" && rates.includes("rocm")) || (searchedOf(method) !== "rocm" && rates.includes(searchedOf(method))) || rewards.some((reward) => plannedParts.some((part) => isWanted(selection, part, reward, method))));
}

/** What of them has a learning rate of its own. */
export function neededRates(budget: Budget, selection: Selection): Searched[] {
  const rewards = selectedRewards(budget, selection);
  return searched.filter((name) => methods.some((method) => searchedOf(method) === name && (selection.targets.includes("search") && selection.methods.includes(method) || rewards.some((reward) => plannedParts.some((part) => isWanted(selection, part, reward, method))))));
}

/**
 * All runs of a selection that can be named so far, in the order in which they depend on each other and each once: the search; with its result the sweep, the rows
 * of Table 1 without beta and the runs with automatic beta; with the sweep's result the other rows and the animals.
 * @param spreads needed for the sweep; a reward without one is not swept
 */
export function planPaper(budget: Budget, calibration: Calibration, spreads: RewardSpreads, search: SearchResult | undefined, sweep: SweepResult | undefined, selection: Selection = everything): RunSpec[] {
  const specs: RunSpec[] = [];
  for (const reward of budget.searchRewards) for (const name of neededRates(budget, selection)) specs.push(...searchTrials(budget, calibration, reward, name));
  if (search === undefined) return specs;
  const rewards = selectedRewards(budget, selection);
  // Without a rate (every trial of a method broke off) there is nothing to run.
  const rateOf = (reward: TrainedReward, method: Method): number | undefined => search[reward][searchedOf(method)];
  for (const reward of rewards) {
    const spread = spreads[reward];
    for (const method of divergenceMethods) {
      const rate = rateOf(reward, method);
      if (spread !== undefined && rate !== undefined && isWanted(selection, "sweep", reward, method)) specs.push(...sweepRuns(budget, calibration, reward, method, spread, rate));
    }
  }
  for (const reward of rewards) {
    for (const method of methods) {
      const rate = rateOf(reward, method);
      const beta = isDivergenceMethod(method) ? sweep?.[reward]?.[method] : null;
      if (beta !== undefined && rate !== undefined && isWanted(selection, "main", reward, method)) specs.push(...mainRuns(budget, calibration, reward, method, rate, beta));
    }
  }
  for (const reward of rewards) {
    for (const method of divergenceMethods) {
      const rate = rateOf(reward, method);
      if (rate === undefined || !isWanted(selection, "auto", reward, method)) continue;
      specs.push(specOf(budget, calibration, { id: `auto/${reward}/${method}/seed-1`, part: "auto", reward, method, beta: "auto", learningRate: rate, seed: 1, isScored: true }));
    }
  }
  for (const reward of rewards) {
    for (const method of methods) {
      const beta = isDivergenceMethod(method) ? sweep?.[reward]?.[method] : null;
      const rate = rateOf(reward, method);
      if (beta === undefined || rate === undefined || !isWanted(selection, "animals", reward, method)) continue;
      specs.push(specOf(budget, calibration, { id: `animals/${reward}/${method}${beta === null ? "" : `/beta-${beta}`}/seed-1`, part: "animals", reward, method, beta, learningRate: rate, seed: 1, isScored: false }));
    }
  }
  return specs.filter(({ id }, index) => specs.findIndex((other) => other.id === id) === index);
}

/** A plan with stand-ins for what search and sweep will find: as many runs of the same cost. */
export function planOutline(budget: Budget, calibration: Calibration, selection: Selection = everything): RunSpec[] {
  const search = Object.fromEntries(budget.rewards.map((reward) => [reward, publishedRates])) as unknown as SearchResult;
  const spreads = Object.fromEntries(budget.rewards.map((reward) => [reward, 1])) as RewardSpreads;
  const sweep = Object.fromEntries(budget.rewards.map((reward) => [reward, Object.fromEntries(divergenceMethods.map((method) => [method, sweepBetas(budget, method, 1)[0]!]))])) as SweepResult;
  return planPaper(budget, calibration, spreads, search, sweep, selection);
}
