import type { HostData } from "@tastemaker/tensor";
import type { TrainConfig } from "../config/train-config.ts";
import { stackNoise } from "../models/image-sampler.ts";
import { joinRows } from "../models/sampler-parts.ts";
import type { TextContexts } from "../models/text-contexts.ts";
import { normalizeScore } from "../rewards/normalization.ts";
import type { ParameterSet } from "./adamw.ts";
import { divergenceNoise, planSamples, type Sample } from "./batch-plan.ts";
import { betaAt, updateBeta } from "./beta-controller.ts";
import { checkDivergenceIsZero, checkStep } from "./checks.ts";
import { type DifferentiatedReward, normalizedMeans, type Objective, weightedSum } from "./objective.ts";
import { type SamplerStep, transitionCount } from "../objectives/sampler-step.ts";
import { backpropPlan } from "./backprop-plan.ts";
import type { RocmStep, RocmStepResult, StepPlan } from "./rocm-step.ts";

/** What ROCM works with; nothing here changes while it runs. */
export interface RocmParts {
  readonly config: TrainConfig;
  readonly step: RocmStep;
  /** The steps that `step` was compiled for. */
  readonly schedule: readonly SamplerStep[];
  readonly rewards: readonly DifferentiatedReward[];
  readonly prompts: readonly string[];
  readonly contexts: TextContexts;
  /** Guidance embedding `[B, K]`, where the model takes one. */
  readonly cond: HostData | undefined;
  /** Whether guidance is classifier-free. */
  readonly isGuided: boolean;
  readonly latentShape: readonly number[];
  /** ΣD of a visibly changed model, for the controller of beta. */
  readonly typicalDivergence: number;
}

/** The numbers of one iteration: means over its samples. */
interface Computed {
  readonly gradients: ParameterSet;
  readonly loss: number;
  /** As the rewards give them. */
  readonly rewards: Readonly<Record<string, number>>;
  /** Weighted sum of the rewards, normalised where asked. */
  readonly reward: number;
  /** Weighted sum of the rewards of each sample, normalised where asked. */
  readonly totals: readonly number[];
  readonly divergence: number;
}

/** Steps as `pictureNoise` counts them, of which the last takes no noise. */
const drawnSteps = ({ schedule }: RocmParts): number => transitionCount(schedule) + 1;

async function runBatch(parts: RocmParts, samples: readonly Sample[], adapter: ParameterSet, beta: number, plan: StepPlan | undefined): Promise<RocmStepResult> {
  const { config, step, rewards, contexts, cond, isGuided, latentShape } = parts;
  const prompts = samples.map(({ prompt }) => prompt);
  const rewardInputs: Record<string, Readonly<Record<string, HostData>>> = {};
  for (const { reward, gradient } of rewards) rewardInputs[reward.name] = await gradient.inputsFor(prompts);
  const options = { seed: config.seed, latentShape, steps: drawnSteps(parts) };
  return step.run({
    adapter,
    context: await contexts.batch(prompts),
    cond,
    ...(isGuided && { emptyContext: joinRows(Array<Float32Array>(samples.length).fill(await contexts.empty())) }),
    plan,
    ...stackNoise(samples.map(({ noise }) => noise)),
    rewardInputs,
    beta,
    ...(config.divergence.kind === "js-sampled" ? { divergenceNoise: divergenceNoise(samples, config.divergence.samples, options) } : {}),
  });
}

/**
 * Gradients and numbers of an iteration (counted from 0): a pure function of the configuration, the adapter, beta and the iteration. Samples are addressed by their place in
 * the whole run, so batch 1 × accumulation 4 sees what 4 × 1 sees.
 */
async function computeIteration(parts: RocmParts, adapter: ParameterSet, iteration: number, beta: number): Promise<Computed> {
  const { config, rewards, prompts, latentShape } = parts;
  const { batchSize, accumulation, seed } = config;
  const count = batchSize * accumulation;
  const samples = planSamples(prompts, iteration * count, count, { seed, latentShape, steps: drawnSteps(parts) });
  const plan = backpropPlan(config.backpropSteps, parts.schedule, { seed, iteration });
  const sums = new Map<string, Float64Array>();
  const rewardSums: Record<string, number> = Object.fromEntries(rewards.map(({ reward }) => [reward.name, 0]));
  let [loss, divergence] = [0, 0];
  const totals: number[] = [];
  for (let start = 0; start < count; start += batchSize) {
    const part = samples.slice(start, start + batchSize);
    const result = await runBatch(parts, part, adapter, beta, plan);
    checkStep(result, iteration, part.map(({ prompt }) => prompt));
    loss += result.loss / accumulation;
    for (let row = 0; row < batchSize; row++) {
      divergence += result.divergenceTotal[row]! / count;
      let total = 0;
      for (const { reward, weight, normalization } of rewards) {
        const value = result.rewards[reward.name]![row]!;
        rewardSums[reward.name]! += value / count;
        total += weight * normalizeScore(value, normalization);
      }
      totals.push(total);
    }
    for (const [name, gradient] of result.gradients) {
      const sum = sums.get(name) ?? new Float64Array(gradient.length);
      for (let i = 0; i < sum.length; i++) sum[i]! += gradient[i]! / accumulation;
      sums.set(name, sum);
    }
  }
  const gradients = new Map([...sums].map(([name, sum]) => [name, Float32Array.from(sum)]));
  const reward = weightedSum(rewards, (name) => rewardSums[name]!);
  return { gradients, loss, rewards: rewardSums, reward, totals, divergence };
}

/** ROCM: the gradient goes through the rewards and all sampling steps (`objectives/rocm.ts`). One update per iteration. */
export function rocmObjective(parts: RocmParts): Objective {
  const { config, typicalDivergence, rewards } = parts;
  return {
    zeroGradientCure: "the reward does not depend on the picture here (its weight is 0, or all pixels are clamped to black or white); use another reward or base model",
    iterate: async (state, update) => {
      const { iteration } = state;
      const beta = betaAt(config.beta, state.beta.beta, iteration, config.iterations);
      const result = await computeIteration(parts, state.parameters, iteration, beta);
      if (iteration === 0) checkDivergenceIsZero(result.divergence, typicalDivergence);
      update(result.gradients);
      state.beta = updateBeta(config.beta, state.beta, result.totals, result.divergence, typicalDivergence);
      const normalized = normalizedMeans(rewards, result.rewards);
      return { reward: result.reward, rewards: result.rewards, ...(normalized && { normalized }), divergence: result.divergence, beta, loss: result.loss };
    },
    dispose: () => parts.step.dispose(),
  };
}
