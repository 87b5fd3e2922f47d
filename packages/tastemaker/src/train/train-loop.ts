import { type HostData, UsageError } from "@tastemaker/tensor";
import type { TrainConfig } from "../config/train-config.ts";
import type { AdapterLayout } from "../models/adapter.ts";
import { sheetName } from "../logs/run-events.ts";
import { stackNoise } from "../models/image-sampler.ts";
import type { TextContexts } from "../models/text-contexts.ts";
import type { MetricsLine } from "../report/report-data.ts";
import { normalizeScore, type RewardNormalization } from "../rewards/normalization.ts";
import type { DifferentiableScore, Reward } from "../rewards/reward.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { monotonicMs } from "../storage/clock.ts";
import type { RunDirectory } from "../storage/run-directory.ts";
import { type ParameterSet, updateAdamW, updateAverage } from "./adamw.ts";
import { divergenceNoise, planSamples, type Sample } from "./batch-plan.ts";
import { betaAt, updateBeta } from "./beta-controller.ts";
import { checkDivergenceIsZero, checkGradient, checkStep } from "./checks.ts";
import type { Evaluator } from "./evaluation.ts";
import { historyOf, withLine } from "./evaluation-history.ts";
import { type EvaluationRules, lookAtBase, lookAtTuned } from "./held-out-look.ts";
import type { RocmStep, RocmStepResult } from "./rocm-step.ts";
import { resultOf, saveState, type TrainState } from "./train-state.ts";

/** A reward that is trained on, and its weight in the sum. */
export interface TrainedReward {
  readonly reward: Reward;
  readonly gradient: DifferentiableScore;
  readonly weight: number;
  /** Applied before the weight. */
  readonly normalization: RewardNormalization | undefined;
}

/** What the loop works with; nothing here changes while it runs. */
export interface TrainParts {
  readonly config: TrainConfig;
  readonly step: RocmStep;
  readonly rewards: readonly TrainedReward[];
  readonly prompts: readonly string[];
  readonly contexts: TextContexts;
  /** Guidance embedding `[B, K]`, where the model takes one. */
  readonly cond: HostData | undefined;
  readonly latentShape: readonly number[];
  readonly layout: AdapterLayout;
  /** ΣD of a visibly changed model, for the controller of beta. */
  readonly typicalDivergence: number;
  readonly evaluator: Evaluator;
  readonly rules: EvaluationRules;
}

/** The numbers of one iteration: means over its samples. */
export interface IterationResult {
  readonly gradients: ParameterSet;
  readonly loss: number;
  /** As the rewards give them. */
  readonly rewards: Readonly<Record<string, number>>;
  /** Weighted sum of the rewards, normalised where asked. */
  readonly reward: number;
  /** Mean of |weighted sum| over the samples. */
  readonly magnitude: number;
  readonly divergence: number;
}

async function runBatch(parts: TrainParts, samples: readonly Sample[], adapter: ParameterSet, beta: number): Promise<RocmStepResult> {
  const { config, step, rewards, contexts, cond, latentShape } = parts;
  const prompts = samples.map(({ prompt }) => prompt);
  const rewardInputs: Record<string, Readonly<Record<string, HostData>>> = {};
  for (const { reward, gradient } of rewards) rewardInputs[reward.name] = await gradient.inputsFor(prompts);
  const options = { seed: config.seed, latentShape, steps: config.steps };
  return step.run({
    adapter,
    context: await contexts.batch(prompts),
    cond,
    ...stackNoise(samples.map(({ noise }) => noise)),
    rewardInputs,
    beta,
    ...(config.divergence.kind === "js-sampled" ? { divergenceNoise: divergenceNoise(samples, config.divergence.samples, options) } : {}),
  });
}

/** Weighted sum of means, each normalised where asked; normalising is affine, so the mean of the sum is the sum of the means. */
function weightedSum(rewards: readonly TrainedReward[], meanOf: (name: string) => number): number {
  return rewards.reduce((total, { reward, weight, normalization }) => total + weight * normalizeScore(meanOf(reward.name), normalization), 0);
}

/** The means of those rewards that are normalised, as they enter the sum, before their weights; undefined when none is. */
function normalizedMeans(rewards: readonly TrainedReward[], means: Readonly<Record<string, number>>): Readonly<Record<string, number>> | undefined {
  const found = rewards.filter(({ normalization }) => normalization !== undefined);
  return found.length === 0 ? undefined : Object.fromEntries(found.map(({ reward: { name }, normalization }) => [name, normalizeScore(means[name]!, normalization)]));
}

/**
 * One iteration (counted from 0): a pure function of the configuration, the adapter, beta and the iteration. Samples are addressed by their place in
 * the whole run, so batch 1 × accumulation 4 sees what 4 × 1 sees.
 * @throws UsageError `not-finite` naming the tensor
 */
export async function computeIteration(parts: TrainParts, adapter: ParameterSet, iteration: number, beta: number): Promise<IterationResult> {
  const { config, rewards, prompts, latentShape } = parts;
  const { batchSize, accumulation, seed, steps } = config;
  const count = batchSize * accumulation;
  const samples = planSamples(prompts, iteration * count, count, { seed, latentShape, steps });
  const sums = new Map<string, Float64Array>();
  const rewardSums: Record<string, number> = Object.fromEntries(rewards.map(({ reward }) => [reward.name, 0]));
  let [loss, divergence, magnitude] = [0, 0, 0];
  for (let start = 0; start < count; start += batchSize) {
    const part = samples.slice(start, start + batchSize);
    const result = await runBatch(parts, part, adapter, beta);
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
      magnitude += Math.abs(total) / count;
    }
    for (const [name, gradient] of result.gradients) {
      const sum = sums.get(name) ?? new Float64Array(gradient.length);
      for (let i = 0; i < sum.length; i++) sum[i]! += gradient[i]! / accumulation;
      sums.set(name, sum);
    }
  }
  const gradients = new Map([...sums].map(([name, sum]) => [name, Float32Array.from(sum)]));
  const reward = weightedSum(rewards, (name) => rewardSums[name]!);
  return { gradients, loss, rewards: rewardSums, reward, magnitude, divergence };
}

export interface TrainHooks {
  /** Asked once per iteration; true: finish the iteration, save, return. */
  shouldStop(): boolean;
  /** Told what takes a while besides iterations. */
  note(text: string): void;
  /** Called after every iteration with its line. */
  onIteration(line: MetricsLine): void;
}

/** Why training ended: all iterations are done, it was asked to, or the watch found over-optimisation and `watch.action` is `stop`. */
export type TrainEnd = "finished" | "asked" | "watch";

/** Trains the adapter until the configured iterations are done or something stops it; either way the state is saved. */
export async function runTraining(parts: TrainParts, state: TrainState, run: RunDirectory, hooks: TrainHooks): Promise<TrainEnd> {
  const { config, evaluator, rewards, rules } = parts;
  const { iterations, learningRate, weightDecay, maxGradNorm, adam, ema, evaluation, checkpoint } = config;
  let history = historyOf((await readJsonLines(run.paths.metrics)) as unknown as MetricsLine[]);
  while (state.iteration < iterations) {
    const startedAt = monotonicMs();
    const { iteration } = state;
    const beta = betaAt(config.beta, state.beta.beta, iteration, iterations);
    const result = await computeIteration(parts, state.parameters, iteration, beta);
    if (iteration === 0) checkDivergenceIsZero(result.divergence, parts.typicalDivergence);
    const gradNorm = updateAdamW(state.parameters, result.gradients, state.optimizer, learningRate, { ...adam, weightDecay, maxGradNorm });
    state.zeroGradients = checkGradient(gradNorm, state.zeroGradients, iteration);
    if (state.average) updateAverage(state.average, state.parameters, ema);
    state.beta = updateBeta(config.beta, state.beta, result.magnitude, result.divergence, parts.typicalDivergence);
    state.iteration = iteration + 1;
    const done = state.iteration;

    const normalized = normalizedMeans(rewards, result.rewards);
    let line: MetricsLine = { iteration: done, reward: result.reward, rewards: result.rewards, ...(normalized && { normalized }), divergence: result.divergence, beta, loss: result.loss, gradNorm };
    if (iteration === 0 && evaluation.every > 0) {
      hooks.note("scoring the base model on the held-out prompts");
      const base = await evaluator.base(state.parameters);
      line = { ...line, ...lookAtBase(base) };
      await run.writeFile(`samples/${sheetName(0)}`, await evaluator.sheet(base));
    }
    const isEvaluated = evaluation.every > 0 && (done % evaluation.every === 0 || done === iterations);
    if (isEvaluated) {
      const scored = await evaluator.tuned(resultOf(state));
      line = { ...line, ...lookAtTuned(scored, withLine(history, line), done, rules) };
      await run.writeFile(`samples/${sheetName(done)}`, await evaluator.sheet(scored));
    }
    history = withLine(history, line);
    await run.appendMetrics(line);
    await run.appendTimings({ iteration: done, seconds: (monotonicMs() - startedAt) / 1000, memoryBytes: process.memoryUsage.rss() });
    hooks.onIteration(line);

    const isWatchStop = config.watch.action === "stop" && line.watch?.state === "fired" && done < iterations;
    const isStopping = isWatchStop || (hooks.shouldStop() && done < iterations);
    if (done % checkpoint.every === 0 || done === iterations || isStopping || isEvaluated) {
      await run.checkpoint(done, (folder) => saveState(state, parts.layout, folder), { keep: checkpoint.keep, ...(history.best === undefined ? {} : { best: history.best }) });
    }
    if (isStopping) return isWatchStop ? "watch" : "asked";
    // onnxruntime's run() blocks its thread: let signals in between iterations.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return "finished";
}

/** Says where to go on from after an error that no retry cures. */
export function explainStop(error: unknown, run: RunDirectory): unknown {
  if (!(error instanceof UsageError) || error.code !== "not-finite") return error;
  const kept = run.latest === undefined ? "there is no checkpoint yet" : `the last good checkpoint stays: ${run.latest.path}`;
  return new UsageError(error.code, `${error.message}; ${kept}`);
}
