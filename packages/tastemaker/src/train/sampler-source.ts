import { ddimSteps, lcmSteps } from "@tastemaker/diffusion";
import type { Backend } from "@tastemaker/tensor";
import { needsDiffusion, policyOf } from "../config/policy-setting.ts";
import type { TrainConfig } from "../config/train-config.ts";
import type { AdaptedNetworkOptions } from "../models/adapted-network.ts";
import type { AdapterLayout } from "../models/adapter.ts";
import type { PictureSampler } from "../models/image-sampler.ts";
import { type OpenedModel, samplerKind } from "../models/open-model.ts";
import { noiseSteps, openPictureSampler, type Sampling } from "../models/picture-sampler.ts";
import { consistencySchedule, diffusionSchedule, type PolicySchedule } from "../models/policy-schedule.ts";
import { ddimStepsOf, type SamplerStep } from "../objectives/sampler-step.ts";
import type { TextContexts } from "../models/text-contexts.ts";

/** How the pictures of a run are made outside of training: those of its evaluation and those that measure a reward. */
export interface SamplerSource {
  /** Steps as `pictureNoise` counts them. */
  readonly noiseSteps: number;
  /** @param isTuned false: the adapter's strength will always be 0 */
  open(batchSize: number, isTuned: boolean): Promise<PictureSampler>;
}

interface SourceParts {
  readonly model: OpenedModel;
  readonly layout: AdapterLayout;
  readonly contexts: TextContexts;
  readonly backend: Backend;
}

/** The sampler of a configuration's model: multistep consistency sampling, or DDIM as training samples (with the same η). */
export function samplingOfConfig(config: TrainConfig, model: OpenedModel): Sampling {
  const { steps, timesteps, guidanceScale, objective } = config;
  const kind = samplerKind(model);
  if (kind === "consistency") return { kind, steps, timesteps, guidanceScale };
  return { kind, steps, eta: objective === "rocm" ? (config.eta ?? 1) : policyOf(config).eta, guidanceScale };
}

/** The steps of ROCM's sampler. @throws UsageError for more steps than the model has */
export function samplerStepsOf(config: TrainConfig, model: OpenedModel): readonly SamplerStep[] {
  const { scheduler } = model.parts;
  const sampling = samplingOfConfig(config, model);
  return sampling.kind === "ddim" ? ddimStepsOf(ddimSteps(scheduler, sampling.steps, sampling.eta)) : lcmSteps(scheduler, sampling.steps, sampling.timesteps);
}

/** The steps of a policy objective's sampler. */
export function scheduleOf(config: TrainConfig, model: OpenedModel): PolicySchedule {
  const { scheduler } = model.parts;
  const sampling = samplingOfConfig(config, model);
  return sampling.kind === "ddim" ? diffusionSchedule(scheduler, sampling) : consistencySchedule(scheduler, { ...sampling, lastStepNoise: policyOf(config).lastStepNoise });
}

/** How an objective's network is compiled for a batch. */
export async function networkOptions(config: TrainConfig, { layout, contexts }: Pick<SourceParts, "layout" | "contexts">, batchSize: number): Promise<AdaptedNetworkOptions> {
  const { guidanceScale } = config;
  return { layout, batchSize, contextShape: contexts.shape, guidanceScale, ...(needsDiffusion(config) && { emptyContext: await contexts.empty() }) };
}

/** The sampler of a configuration, for evaluations and measurements. */
export function samplerSource(config: TrainConfig, { model, layout, contexts, backend }: SourceParts): SamplerSource {
  const sampling = samplingOfConfig(config, model);
  return {
    noiseSteps: noiseSteps(model, sampling),
    open: (batchSize, isTuned) => openPictureSampler(model, sampling, { batchSize, contexts, ...(isTuned && { layout }) }, backend),
  };
}
