import { resolve } from "node:path";
import { guidanceEmbedding, lcmSteps, scopeOf } from "@tastemaker/diffusion";
import { type Backend, UsageError, weight } from "@tastemaker/tensor";
import type { RewardSetting, TrainConfig } from "../config/train-config.ts";
import { type PromptList, resolvePrompts } from "../data/prompt-lists.ts";
import { isRemoteName, type LocateOptions, pinWeights } from "../hub/locate-weights.ts";
import { adapterLayout } from "../models/adapter.ts";
import { worldName } from "../models/emoji-world.ts";
import { openModel, type OpenedModel, requireConsistencyModel } from "../models/open-model.ts";
import { TextContexts } from "../models/text-contexts.ts";
import { collectGarbage } from "../platform/collect-garbage.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { isAddress } from "../rewards/custom-reward.ts";
import { openOtherRewards, openReward, rewardPlaces } from "../rewards/open-reward.ts";
import { type Metric, requireGradient } from "../rewards/reward.ts";
import { openWorldMetrics } from "../rewards/world-metrics.ts";
import type { RunRecord } from "../storage/run-directory.ts";
import { typicalDivergence } from "./beta-controller.ts";
import { compileRocmStep } from "./rocm-step.ts";
import { Evaluator } from "./evaluation.ts";
import { type MeasuredRewards, measureRewards, normalizationOf } from "./reward-normalization.ts";
import { hashInputs } from "./run-inputs.ts";
import type { TrainedReward, TrainParts } from "./train-loop.ts";

/** Everything a training run reads, opened and checked; the training step itself is compiled by `compile`. */
export interface TrainSession {
  readonly model: OpenedModel;
  readonly inputs: RunRecord["inputs"];
  readonly heldOut: PromptList;
  readonly evaluator: Evaluator;
  readonly layout: TrainParts["layout"];
  readonly typicalDivergence: number;
  /** Measures the rewards that are normalised by the base model; empty when none is. */
  measureRewards(): Promise<MeasuredRewards>;
  /** Compiles the gradient programs; needed for training, not for evaluation. */
  compile(measured: MeasuredRewards): Promise<TrainParts>;
  /** Gives the gradient programs' memory back; what evaluates goes on working. */
  releaseStep(): Promise<void>;
  dispose(): Promise<void>;
}

/** The places that are given, made absolute; names of the hub and addresses are so already. */
function resolved(places: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(places).flatMap(([name, place]) => (place === undefined ? [] : [[name, place === worldName || isAddress(place) || isRemoteName(place) ? place : resolve(place)]])));
}

/**
 * The configuration with paths that do not depend on the working directory, so that a run can be continued from anywhere.
 * @throws UsageError as `parseWeightsName`
 */
export function absolutePaths(config: TrainConfig): TrainConfig {
  const prompts = (setting: TrainConfig["prompts"]): TrainConfig["prompts"] => (typeof setting === "string" && !setting.startsWith("world:") ? resolve(setting) : setting);
  return {
    ...config,
    ...resolved({ model: config.model === worldName ? undefined : config.model, modelConfig: config.modelConfig }),
    prompts: prompts(config.prompts),
    rewards: config.rewards.map(({ path, vocabulary, clip, ...reward }) => ({ ...reward, ...resolved({ path, vocabulary, clip }) })),
    evaluation: { ...config.evaluation, prompts: prompts(config.evaluation.prompts) },
  };
}

/** A reward as it is opened, before the base model is measured. */
type OpenedReward = Omit<TrainedReward, "normalization"> & { readonly setting: RewardSetting };

/**
 * The configuration with the commit of every repository in its name, so that a continued run has the weights it was begun with, whatever a branch means by then.
 * @throws UsageError as `pinWeights`
 */
export async function pinnedWeights(config: TrainConfig, fetching: LocateOptions): Promise<TrainConfig> {
  const pinned = async (places: object): Promise<object> => {
    const names: [string, string][] = [];
    for (const [place, name] of Object.entries(places)) if (typeof name === "string" && isRemoteName(name)) names.push([place, await pinWeights(name, fetching)]);
    return Object.fromEntries(names);
  };
  const rewards: TrainConfig["rewards"][number][] = [];
  for (const reward of config.rewards) rewards.push({ ...reward, ...(await pinned(rewardPlaces(reward, config.model) ?? {})) });
  return { ...config, ...(await pinned({ model: config.model, modelConfig: config.modelConfig })), rewards };
}

/** Opens the rewards of a configuration. @throws UsageError `reward-twice`, `reward-not-differentiable` */
async function openRewards(config: TrainConfig, backend: Backend, fetching: LocateOptions): Promise<OpenedReward[]> {
  const opened: OpenedReward[] = [];
  for (const setting of config.rewards) {
    if (opened.some(({ reward }) => reward.name === setting.name)) {
      throw new UsageError("reward-twice", `rewards: expected each name once, got "${setting.name}" twice`, "give one entry the sum of the weights");
    }
    const reward = await openReward(setting, backend, config.model, fetching);
    opened.push({ reward, gradient: requireGradient(reward, "rocm"), weight: setting.weight, setting });
  }
  return opened;
}

/**
 * Opens model, rewards and prompts of a configuration.
 * @throws UsageError for anything that is missing, misshapen or does not fit together
 */
export async function openSession(config: TrainConfig, warn: (text: string) => void, fetching: LocateOptions = {}): Promise<TrainSession> {
  const backend = nodeBackend({ threads: config.threads, provider: config.provider });
  const model = requireConsistencyModel(await openModel(config.model, { fetching, ...(config.modelConfig === undefined ? {} : { configs: config.modelConfig }) }));
  const prompts = await resolvePrompts(config.prompts);
  const heldOut = await resolvePrompts(config.evaluation.prompts, config.evaluation.count);
  const shared = prompts.prompts.filter((prompt) => heldOut.prompts.includes(prompt));
  if (shared.length > 0) warn(`${shared.length} of the ${heldOut.prompts.length} evaluation prompts are also trained on, so the evaluation is not held out`);
  const layout = adapterLayout(model, config.lora);
  const rewards = await openRewards(config, backend, fetching);
  const others = await openOtherRewards(config.model, config.rewards.map(({ name }) => name), backend);
  const contexts = new TextContexts(model, backend, warn);
  const settings = { steps: config.steps, timesteps: config.timesteps, guidanceScale: config.guidanceScale };
  const metrics: Metric[] = [...rewards.map(({ reward }) => reward), ...others];
  if (config.model === worldName) metrics.push(...(await openWorldMetrics(heldOut.prompts, backend)));
  const twice = metrics.find(({ name }, index) => metrics.findIndex((metric) => metric.name === name) !== index);
  if (twice !== undefined) throw new UsageError("reward-twice", `rewards: expected names that no metric of the evaluation has, got "${twice.name}"`, "choose another name for the reward");
  const evaluator = new Evaluator({
    model,
    layout,
    settings,
    prompts: heldOut.prompts,
    promptsSha256: heldOut.sha256,
    seed: config.seed,
    metrics,
    trained: rewards.map(({ reward }) => reward.name),
    contexts,
    backend,
  });
  const typical = typicalDivergence(config, model.latentShape.reduce((product, size) => product * size, 1));
  const inputs = await hashInputs(model, rewards.map(({ reward }) => reward), { prompts, "held-out prompts": heldOut });
  let compiled: TrainParts["step"] | undefined;
  const releaseStep = async (): Promise<void> => {
    const step = compiled;
    compiled = undefined;
    await step?.dispose();
  };
  return {
    model,
    inputs,
    heldOut,
    evaluator,
    layout,
    typicalDivergence: typical,
    measureRewards: () => measureRewards(rewards, { model, settings, prompts: prompts.prompts, seed: config.seed, contexts, backend }),
    compile: async (measured) => {
      const { batchSize, checkpointing, lora, divergence, backpropSteps } = config;
      const { parts, unet, vae, latentShape } = model;
      const trained = rewards.map(({ reward, gradient, weight: factor, setting }): TrainedReward => ({ reward, gradient, weight: factor, normalization: normalizationOf(setting, measured) }));
      const step = await compileRocmStep({
        model: {
          unet: { scope: scopeOf((key, shape) => weight(parts.unet.weights.take(key, shape))), config: unet },
          vae: { scope: scopeOf((key, shape) => weight(parts.vae.weights.take(key, shape))), config: vae },
        },
        rewards: trained.map(({ gradient, weight: factor, normalization }) => ({ ...gradient.term(factor, batchSize), normalization })),
        settings: {
          schedule: lcmSteps(parts.scheduler, config.steps, config.timesteps),
          lora: { targets: layout.layers, rank: lora.rank, alpha: lora.alpha },
          divergence,
          backpropSteps,
          latentSize: [latentShape[1], latentShape[2]],
          contextLength: contexts.shape[0],
        },
        batchSize,
        backend,
        checkpointing,
      });
      compiled = step;
      collectGarbage();
      const width = unet.timeCondProjDim;
      const embedding = width === undefined ? undefined : guidanceEmbedding(config.guidanceScale, width);
      const cond = embedding && Float64Array.from({ length: batchSize * embedding.length }, (_, i) => embedding[i % embedding.length]!);
      return { config, step, rewards: trained, prompts: prompts.prompts, contexts, cond, latentShape, layout, typicalDivergence: typical, evaluator };
    },
    releaseStep,
    dispose: async () => {
      await releaseStep();
      await evaluator.dispose();
      await contexts.dispose();
    },
  };
}
