import { UsageError } from "@tastemaker/tensor";
import type { TrainConfig } from "../config/train-config.ts";
import { consistencySteps, defaultGuidanceScale, diffusionGuidanceScale, diffusionSteps } from "../models/default-guidance.ts";
import { type OpenedModel, samplerKind } from "../models/open-model.ts";
import type { Sampling } from "../models/picture-sampler.ts";
import { samplingOfConfig } from "../train/sampler-source.ts";

/** What the command line says of sampling. */
export interface GivenSampling {
  readonly steps?: number | undefined;
  readonly timesteps?: string | undefined;
  readonly guidance?: number | undefined;
  readonly eta?: number | undefined;
}

/** `linspace`, `skipping`, or a falling list of timesteps such as `999,759,499,259`. @throws UsageError `timesteps-option` */
export function parseTimesteps(text: string): TrainConfig["timesteps"] {
  if (text === "linspace" || text === "skipping") return text;
  const list = text.split(",").map(Number);
  const isList = list.every((value, index) => Number.isInteger(value) && value >= 0 && value <= 999 && (index === 0 || value < list[index - 1]!));
  if (text.trim() !== "" && isList) return list;
  throw new UsageError("timesteps-option", `--timesteps: expected linspace, skipping or falling whole numbers from 999 to 0 separated by commas, got "${text}"`);
}

/**
 * How one model is sampled: what is given, then the usual.
 * @param config of the run whose pictures are meant, where there is one
 * @throws UsageError `sampler-option` for settings of the other kind of sampler, `timesteps-option`
 */
export function chooseSampling(model: OpenedModel, given: GivenSampling, config?: TrainConfig): Sampling {
  const kind = samplerKind(model);
  const run = config && samplingOfConfig(config, model);
  if (kind === "ddim") {
    if (given.timesteps !== undefined) throw new UsageError("sampler-option", `--timesteps: expected a consistency model, got ${model.name}, which DDIM samples`, "DDIM spaces its steps evenly; say --steps");
    const own = run?.kind === kind ? run : undefined;
    return { kind, steps: given.steps ?? own?.steps ?? diffusionSteps, eta: given.eta ?? own?.eta ?? 1, guidanceScale: given.guidance ?? own?.guidanceScale ?? diffusionGuidanceScale };
  }
  if (given.eta !== undefined) throw new UsageError("sampler-option", `--eta: expected a diffusion model, got ${model.name}, a consistency model`, "eta is a setting of DDIM; leave it out, or use a model such as emoji-teacher");
  const own = run?.kind === kind ? run : undefined;
  const timesteps = given.timesteps === undefined ? (own?.timesteps ?? "linspace") : parseTimesteps(given.timesteps);
  const isList = typeof timesteps !== "string";
  const steps = given.steps ?? (isList ? timesteps.length : (own?.steps ?? consistencySteps));
  if (isList && timesteps.length !== steps) throw new UsageError("timesteps-option", `evaluate: expected ${steps} timesteps (one per step), got ${timesteps.length}`, "give --steps the length of the list");
  return { kind, steps, timesteps, guidanceScale: given.guidance ?? own?.guidanceScale ?? defaultGuidanceScale(model.name) };
}
