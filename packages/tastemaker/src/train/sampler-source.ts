import type { Backend } from "@tastemaker/tensor";
import { needsDiffusion, policyOf } from "../config/policy-setting.ts";
import type { TrainConfig } from "../config/train-config.ts";
import { AdaptedNetwork, type AdaptedNetworkOptions } from "../models/adapted-network.ts";
import type { AdapterLayout } from "../models/adapter.ts";
import { ImageSampler, type PictureSampler } from "../models/image-sampler.ts";
import type { OpenedModel } from "../models/open-model.ts";
import { samplerParts } from "../models/sampler-parts.ts";
import type { TextContexts } from "../models/text-contexts.ts";
import { consistencySchedule, diffusionSchedule, noiseCount, type PolicySchedule } from "./policy-schedule.ts";
import { PolicySampler } from "./policy-sampler.ts";

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

/** The steps of an objective's sampler. */
export function scheduleOf(config: TrainConfig, { parts }: Pick<OpenedModel, "parts">): PolicySchedule {
  const { steps, timesteps, objective } = config;
  const { eta, lastStepNoise } = policyOf(config);
  return needsDiffusion(objective) ? diffusionSchedule(parts.scheduler, { steps, eta }) : consistencySchedule(parts.scheduler, { steps, timesteps, lastStepNoise });
}

/** How an objective's network is compiled for a batch. */
export async function networkOptions(config: TrainConfig, { layout, contexts }: SourceParts, batchSize: number): Promise<AdaptedNetworkOptions> {
  const { guidanceScale, objective } = config;
  return { layout, batchSize, contextShape: contexts.shape, guidanceScale, ...(needsDiffusion(objective) && { emptyContext: await contexts.empty() }) };
}

/** The sampler that belongs to a configuration's objective: multistep consistency sampling, or DDIM as training samples (with the same η). */
export function samplerSource(config: TrainConfig, parts: SourceParts): SamplerSource {
  const { model, layout, contexts, backend } = parts;
  if (!needsDiffusion(config.objective)) {
    const settings = { steps: config.steps, timesteps: config.timesteps, guidanceScale: config.guidanceScale };
    return { noiseSteps: config.steps, open: (batchSize, isTuned) => ImageSampler.open(model, { settings, batchSize, contextShape: contexts.shape, ...(isTuned && { layout }) }, backend) };
  }
  const schedule = scheduleOf(config, model);
  return {
    noiseSteps: noiseCount(schedule) + 1,
    open: async (batchSize) => {
      const weights = samplerParts(model);
      const network = await AdaptedNetwork.open(weights, await networkOptions(config, parts, batchSize), backend);
      return PolicySampler.open(network, schedule, weights, backend);
    },
  };
}
