import type { LcmTimesteps } from "@tastemaker/diffusion";
import type { Backend } from "@tastemaker/tensor";
import { AdaptedNetwork } from "./adapted-network.ts";
import type { AdapterLayout } from "./adapter.ts";
import { ImageSampler, type PictureSampler } from "./image-sampler.ts";
import type { OpenedModel } from "./open-model.ts";
import { diffusionSchedule, noiseCount } from "./policy-schedule.ts";
import { PolicySampler } from "./policy-sampler.ts";
import { samplerParts } from "./sampler-parts.ts";
import type { TextContexts } from "./text-contexts.ts";

/** Multistep consistency sampling. */
export interface ConsistencySampling {
  readonly kind: "consistency";
  readonly steps: number;
  readonly timesteps: LcmTimesteps;
  /** An input of the network, where it has one. */
  readonly guidanceScale: number;
}

/** DDIM with classifier-free guidance. */
export interface DdimSampling {
  readonly kind: "ddim";
  readonly steps: number;
  /** Share of noise: 0 is deterministic, 1 has the variance of ancestral sampling. */
  readonly eta: number;
  readonly guidanceScale: number;
}

/** How pictures are made; `samplerKind` says which kind belongs to a model. */
export type Sampling = ConsistencySampling | DdimSampling;

export interface PictureSamplerOptions {
  /** Layers with an adapter; undefined samples the model as it is. */
  readonly layout?: AdapterLayout | undefined;
  readonly batchSize: number;
  /** Of the model. */
  readonly contexts: TextContexts;
}

/** The steps of noise that a picture needs, as `pictureNoise` counts them. @throws UsageError for more steps than the model has timesteps */
export function noiseSteps({ parts }: Pick<OpenedModel, "parts">, sampling: Sampling): number {
  // `pictureNoise` counts steps, of which the last takes no noise.
  return sampling.kind === "consistency" ? sampling.steps : noiseCount(diffusionSchedule(parts.scheduler, sampling)) + 1;
}

/**
 * Compiles the sampler of a model. With classifier-free guidance, both predictions of a step are one batch of twice the rows.
 * @throws UsageError for more steps than the model has timesteps
 */
export async function openPictureSampler(model: OpenedModel, sampling: Sampling, { layout, batchSize, contexts }: PictureSamplerOptions, backend: Backend): Promise<PictureSampler> {
  if (sampling.kind === "consistency") return ImageSampler.open(model, { settings: sampling, batchSize, contextShape: contexts.shape, ...(layout && { layout }) }, backend);
  const schedule = diffusionSchedule(model.parts.scheduler, sampling);
  const parts = samplerParts(model);
  const network = await AdaptedNetwork.open(parts, { layout, batchSize, contextShape: contexts.shape, guidanceScale: sampling.guidanceScale, emptyContext: await contexts.empty() }, backend);
  return PolicySampler.open(network, schedule, parts, backend);
}
