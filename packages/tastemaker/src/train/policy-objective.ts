import { type PolicyObjectiveName, policyOf, type PolicySetting } from "../config/policy-setting.ts";
import type { TrainConfig } from "../config/train-config.ts";
import type { AdaptedNetwork, NetworkInputs } from "../models/adapted-network.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { meanOf } from "../report/paired-statistics.ts";
import type { GaussianStep } from "../objectives/step-policy.ts";
import type { ParameterSet } from "./adamw.ts";
import { checkFirstKl, checkFirstRatio, checkGradients } from "./checks.ts";
import { type IterationResult, normalizedMeans, type Objective, weightedSum } from "./objective.ts";
import type { Walk } from "../models/policy-sampler.ts";
import type { PolicySchedule } from "../models/policy-schedule.ts";
import { lossNeeds, type PolicyLoss, type StepTransition } from "./policy-loss.ts";
import { advantagesOf } from "./prompt-statistics.ts";
import type { TrainState } from "./train-state.ts";
import { scaledRewards, type ValueBaseline, type ValueState } from "./value-baseline.ts";
import { makeRollout, preferencesOf, type Rollout, type RolloutOptions } from "./rollout.ts";

/** What a policy objective works with; nothing here changes while it runs. */
export interface PolicyParts {
  readonly config: TrainConfig;
  readonly objective: PolicyObjectiveName;
  readonly network: AdaptedNetwork;
  readonly loss: PolicyLoss;
  /** The learned baseline that advantages are taken from, instead of the statistics of the prompts. */
  readonly value: ValueBaseline | undefined;
  readonly rollout: RolloutOptions;
}

/** A batch of an iteration with what its loss says of each row. */
interface Batch {
  readonly walk: Walk;
  /** Advantages or preferences at a step, `[B]`. */
  targetsAt(index: number): Float64Array;
}

/** Sums over the steps and batches of an iteration's updates. */
interface Totals {
  count: number;
  loss: number;
  ratio: number;
  clipFraction: number;
  approxKl: number;
  kl: number;
}

/** The steps that have a density, with their places. */
function scoredSteps({ steps }: PolicySchedule): { readonly step: GaussianStep; readonly index: number }[] {
  return steps.flatMap(({ scored: step }, index) => (step === undefined ? [] : [{ step, index }]));
}

/** The batches of a rollout with advantages r − V, clamped, and V fitted to the rewards afterwards, which it had not seen. @returns with the error that V had */
async function valuedBatches(baseline: ValueBaseline, state: ValueState, { batches, totals }: Rollout, schedule: PolicySchedule, settings: PolicySetting): Promise<{ readonly batches: Batch[]; readonly valueLoss: number }> {
  const scaled = scaledRewards(state, totals);
  const rows = totals.length / batches.length;
  const rewarded = batches.map((walk, index) => ({ walk, rewards: scaled.slice(index * rows, (index + 1) * rows) }));
  const steps = scoredSteps(schedule).map(({ step: { timestep }, index }) => ({ timestep, index }));
  const limit = settings.advantageClip;
  const valued: Batch[] = [];
  for (const batch of rewarded) {
    const targets = new Map<number, Float64Array>();
    for (const step of steps) targets.set(step.index, (await baseline.advantages(state, batch, step)).map((advantage) => Math.min(limit, Math.max(-limit, advantage))));
    valued.push({ walk: batch.walk, targetsAt: (index) => targets.get(index)! });
    await letSignalsIn();
  }
  return { batches: valued, valueLoss: await baseline.fit(state, rewarded, steps, { updates: settings.valueUpdates, learningRate: settings.valueLearningRate }) };
}

/** Of every step, the sum of the other steps' log-ratios, `[B]`, in float64: exactly 0 while no ratio has moved. */
async function logRatiosOfOthers(loss: PolicyLoss, transitions: readonly StepTransition[]): Promise<Float64Array[]> {
  const own: Float32Array[] = [];
  for (const transition of transitions) own.push((await loss.run({ ...transition, others: new Float64Array(transition.targets.length) })).logRatio);
  return own.map((_, step) => Float64Array.from(own[step]!, (_value, row) => own.reduce((total, values, other) => (other === step ? total : total + values[row]!), 0)));
}

/** How an update reads its batches. */
interface UpdatePass {
  /** The adapter is still the one that sampled: its outputs are known. */
  readonly isKnown: boolean;
  /** Looks at the ratios and KL of each step before they are used. */
  check(ratio: Float32Array, kl: Float32Array | undefined, step: number): void;
}

/**
 * The gradient of an update: the mean over its batches and the steps that have a density, summed in that order in float64. A step whose loss is flat (all ratios clipped, all pairs tied)
 * costs no backward pass.
 */
async function gradientOf(parts: PolicyParts, batches: readonly Batch[], adapter: ParameterSet, totals: Totals, { isKnown, check }: UpdatePass): Promise<ParameterSet> {
  const { network, loss, rollout, objective } = parts;
  const scored = scoredSteps(rollout.schedule);
  const needs = lossNeeds(objective);
  // A loss of whole trajectories is not a mean over its steps.
  const weight = 1 / (batches.length * (needs.others ? 1 : scored.length));
  const sums = new Map([...adapter].map(([name, values]) => [name, new Float64Array(values.length)]));
  for (const { walk, targetsAt } of batches) {
    const inputsOf = (index: number, strength: number): NetworkInputs => ({ sample: walk.x[index]!, timestep: rollout.schedule.steps[index]!.timestep, context: walk.context, adapter: { parameters: adapter, strength } });
    const transitionOf = async ({ step, index }: (typeof scored)[number]): Promise<StepTransition> => {
      const output = isKnown ? walk.output[index]! : await network.output(inputsOf(index, 1));
      const reference = needs.reference ? await network.output(inputsOf(index, 0)) : undefined;
      return { step, x: walk.x[index]!, next: walk.x[index + 1]!, output, old: needs.old ? walk.output[index]! : undefined, reference, targets: targetsAt(index) };
    };
    const transitions: StepTransition[] = [];
    if (needs.others) for (const place of scored) transitions.push(await transitionOf(place));
    const others = await logRatiosOfOthers(loss, transitions);
    for (const [place, { step, index }] of scored.entries()) {
      const result = await loss.run({ ...(transitions[place] ?? (await transitionOf({ step, index }))), others: others[place] });
      check(result.ratio, result.kl, index);
      totals.count += 1;
      totals.loss += result.loss;
      totals.ratio += meanOf([...result.ratio]);
      totals.clipFraction += result.clipFraction;
      totals.approxKl += result.approxKl;
      totals.kl += result.kl === undefined ? 0 : meanOf([...result.kl]);
      if (result.cotangent.every((value) => value === 0)) continue;
      for (const [name, gradient] of await network.gradient(inputsOf(index, 1), result.cotangent)) {
        const sum = sums.get(name)!;
        for (let i = 0; i < sum.length; i++) sum[i]! += gradient[i]! * weight;
      }
      await letSignalsIn();
    }
  }
  return new Map([...sums].map(([name, sum]) => [name, Float32Array.from(sum)]));
}

/** The means that a line of the log holds. */
function resultOf({ objective, rollout: { rewards, schedule } }: PolicyParts, rollout: Rollout, settings: PolicySetting, totals: Totals, valueLoss: number | undefined): IterationResult {
  const means = Object.fromEntries(Object.entries(rollout.rewards).map(([name, values]) => [name, meanOf(values)]));
  const normalized = normalizedMeans(rewards, means);
  const { count } = totals;
  const kl = totals.kl / count;
  const hasKl = objective === "dpok";
  return {
    reward: weightedSum(rewards, (name) => means[name]!),
    rewards: means,
    ...(normalized && { normalized }),
    divergence: hasKl ? kl * schedule.steps.filter(({ scored }) => scored !== undefined).length : 0,
    beta: hasKl ? settings.klWeight : 0,
    loss: totals.loss / count,
    policy: { ratio: totals.ratio / count, clipFraction: totals.clipFraction / count, approxKl: totals.approxKl / count, ...(hasKl && { kl }), ...(valueLoss !== undefined && { valueLoss }) },
  };
}

/**
 * RLCM, DDPO, DPOK, D3PO or REBEL: an iteration samples pictures, scores them, and updates the adapter on the stored steps (`objectives/step-policy.ts`). No gradient passes through the reward,
 * the decoder or from step to step.
 */
export function policyObjective(parts: PolicyParts): Objective {
  const { config, objective, network, loss, value, rollout: options } = parts;
  const settings = policyOf(config);
  const rows = network.batchSize;
  /** The batches with preferences, or advantages over the statistics of the prompts; the same at every step. */
  const judged = (state: TrainState, rollout: Rollout): Batch[] => {
    let targets: Float64Array;
    if (objective === "d3po") targets = preferencesOf(rollout.totals, rows / 2);
    else {
      const { statisticsBuffer: buffer, statisticsMinimum: minimum, advantageClip: limit } = settings;
      const { advantages, statistics } = advantagesOf(state.statistics, rollout.prompts, rollout.totals, { buffer, minimum, limit });
      targets = advantages;
      state.statistics = statistics;
    }
    return rollout.batches.map((walk, index) => ({ walk, targetsAt: () => targets.slice(index * rows, (index + 1) * rows) }));
  };
  const [compared, cure] = settings.picturesPerPrompt > 1 ? ["a prompt", "picturesPerPrompt"] : ["an iteration", "samplesPerIteration"];
  return {
    zeroGradientCure:
      objective === "d3po"
        ? "the reward prefers neither picture of any pair; use another reward, or more policy.samplesPerIteration"
        : `the reward gives all pictures of ${compared} the same number; use another reward, or more policy.${cure}`,
    iterate: async (state, update) => {
      const { iteration } = state;
      const rollout = await makeRollout(iteration, state.parameters, options);
      const { batches, valueLoss } = value === undefined ? { batches: judged(state, rollout), valueLoss: undefined } : await valuedBatches(value, state.value!, rollout, options.schedule, settings);
      const perUpdate = batches.length / settings.updatesPerIteration;
      const totals: Totals = { count: 0, loss: 0, ratio: 0, clipFraction: 0, approxKl: 0, kl: 0 };
      // The first iteration computes what sampling computed once more, and so proves that it may be reused in the others.
      let isFirst = true;
      const check = (ratio: Float32Array, kl: Float32Array | undefined, step: number): void => {
        const where = `step ${step + 1} of iteration ${iteration + 1}`;
        if (iteration > 0 || !isFirst) return;
        checkFirstRatio(ratio, where);
        if (kl !== undefined) checkFirstKl(kl, where);
      };
      for (let epoch = 0; epoch < settings.innerEpochs; epoch++) {
        for (let start = 0; start < batches.length; start += perUpdate) {
          const gradients = await gradientOf(parts, batches.slice(start, start + perUpdate), state.parameters, totals, { isKnown: isFirst && iteration > 0, check });
          checkGradients(gradients, iteration);
          update(gradients);
          isFirst = false;
        }
      }
      return resultOf(parts, rollout, settings, totals, valueLoss);
    },
    dispose: async () => {
      await options.sampler.dispose();
      await loss.dispose();
      await value?.dispose();
    },
  };
}
