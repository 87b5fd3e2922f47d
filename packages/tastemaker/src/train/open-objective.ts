import { guidanceEmbedding, scopeOf } from "@tastemaker/diffusion";
import { type Backend, InternalError, weight } from "@tastemaker/tensor";
import { policyOf, rowsPerPrompt } from "../config/policy-setting.ts";
import type { TrainConfig } from "../config/train-config.ts";
import { AdaptedNetwork } from "../models/adapted-network.ts";
import type { AdapterLayout } from "../models/adapter.ts";
import { isFullSize, type OpenedModel, samplerKind } from "../models/open-model.ts";
import { samplerParts } from "../models/sampler-parts.ts";
import type { TextContexts } from "../models/text-contexts.ts";
import type { ValueLayout } from "../objectives/value-network.ts";
import { freeMemory } from "../platform/free-memory.ts";
import { requireGradient } from "../rewards/reward.ts";
import { checkMemory } from "./checks.ts";
import type { Objective, TrainedReward } from "./objective.ts";
import { PolicyLoss } from "./policy-loss.ts";
import { policyObjective } from "./policy-objective.ts";
import { PolicySampler } from "../models/policy-sampler.ts";
import { rocmObjective } from "./rocm-objective.ts";
import { compileRocmStep } from "./rocm-step.ts";
import { ValueBaseline } from "./value-baseline.ts";
import { networkOptions, samplerStepsOf, scheduleOf } from "./sampler-source.ts";

/** What an objective is made of. */
export interface ObjectiveParts {
  readonly config: TrainConfig;
  readonly model: OpenedModel;
  readonly layout: AdapterLayout;
  readonly rewards: readonly TrainedReward[];
  readonly prompts: readonly string[];
  readonly contexts: TextContexts;
  readonly typicalDivergence: number;
  readonly backend: Backend;
  readonly warn: (text: string) => void;
}

async function openRocm({ config, model, layout, rewards: trained, prompts, contexts, typicalDivergence, backend, warn }: ObjectiveParts): Promise<Objective> {
  const { batchSize, lora, divergence, backpropSteps } = config;
  const isDiffusion = samplerKind(model) === "ddim";
  // One program of many guided steps would take minutes to compile, and has a fixed way.
  const usual = isFullSize(model) || isDiffusion || typeof backpropSteps === "string" ? "step" : "none";
  const checkpointing = config.checkpointing === "auto" ? usual : config.checkpointing;
  const schedule = samplerStepsOf(config, model);
  const { parts, unet, vae, latentShape } = model;
  const rewards = trained.map((entry) => ({ ...entry, gradient: requireGradient(entry.reward, "rocm") }));
  const step = await compileRocmStep({
    model: {
      unet: { scope: scopeOf((key, shape) => weight(parts.unet.weights.take(key, shape))), config: unet },
      vae: { scope: scopeOf((key, shape) => weight(parts.vae.weights.take(key, shape))), config: vae },
    },
    rewards: rewards.map(({ gradient, weight: factor, normalization }) => ({ ...gradient.term(factor, batchSize), normalization })),
    settings: {
      schedule,
      guidanceScale: isDiffusion ? config.guidanceScale : undefined,
      lora: { targets: layout.layers, rank: lora.rank, alpha: lora.alpha },
      divergence,
      backpropSteps: typeof backpropSteps === "number" ? backpropSteps : undefined,
      latentSize: [latentShape[1], latentShape[2]],
      contextLength: contexts.shape[0],
    },
    batchSize,
    backend,
    checkpointing,
  });
  if (config.provider === "cpu") checkMemory(step, freeMemory(), checkpointing, warn);
  const width = unet.timeCondProjDim;
  const embedding = width === undefined ? undefined : guidanceEmbedding(config.guidanceScale, width);
  const cond = embedding && Float64Array.from({ length: batchSize * embedding.length }, (_, i) => embedding[i % embedding.length]!);
  return rocmObjective({ config, step, schedule, rewards, prompts, contexts, cond, isGuided: isDiffusion, latentShape, typicalDivergence });
}

/** What a value network of a model reads. */
export function valueLayoutOf({ latentShape, unet, text }: OpenedModel): ValueLayout {
  return { latentShape, sinusoidWidth: unet.down[0]!.channels, contextWidth: text.width };
}

async function openPolicy(parts: ObjectiveParts): Promise<Objective> {
  const { config, model, rewards, prompts, contexts, backend, warn } = parts;
  const { objective, batchSize, seed } = config;
  if (objective === "rocm") throw new InternalError("training: expected a policy objective, got rocm");
  const settings = policyOf(config);
  const perPrompt = rowsPerPrompt(objective);
  const rows = batchSize * perPrompt;
  const weights = samplerParts(model);
  const schedule = scheduleOf(config, model);
  // Every step is a program run of its own here, so only the inside of a step can be kept or not.
  const recompute = config.checkpointing === "block";
  const network = await AdaptedNetwork.open(weights, { ...(await networkOptions(config, parts, rows)), unetOptions: { recompute } }, backend, true);
  if (config.provider === "cpu") checkMemory(network, freeMemory(), recompute ? "block" : "step", warn);
  const loss = await PolicyLoss.open(objective, settings, { config: model.unet, shape: [rows, ...model.latentShape] }, backend);
  const sampler = await PolicySampler.open(network, schedule, weights, backend);
  const { latentShape, imageSize } = model;
  const plannedPerIteration = settings.samplesPerIteration / perPrompt;
  const pairs = perPrompt === 1 ? "none" : objective === "d3po" ? "one latent" : "two latents";
  const value = settings.valueBaseline ? await ValueBaseline.open(valueLayoutOf(model), { config: model.unet, batchSize: rows, contextShape: contexts.shape }, backend) : undefined;
  return policyObjective({ config, objective, network, loss, value, rollout: { sampler, schedule, contexts, rewards, prompts, seed, latentShape, imageSize, batchSize, plannedPerIteration, picturesPerPrompt: settings.picturesPerPrompt, pairs } });
}

/**
 * Compiles the programs of a configuration's objective.
 * @throws UsageError `reward-not-differentiable`, `memory-too-small` and what the settings give reason to
 */
export function openObjective(parts: ObjectiveParts): Promise<Objective> {
  return parts.config.objective === "rocm" ? openRocm(parts) : openPolicy(parts);
}
