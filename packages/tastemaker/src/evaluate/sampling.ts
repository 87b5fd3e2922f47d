import { UsageError } from "@tastemaker/tensor";
import type { TrainConfig } from "../config/train-config.ts";
import { chooseSampling, type GivenSampling } from "../generate/choose-sampling.ts";
import { type OpenedModel, samplerKind } from "../models/open-model.ts";
import type { DdimSampling, Sampling } from "../models/picture-sampler.ts";

/** How the models of an evaluation are sampled, by their kind; a kind that does not take part has no settings. */
export interface SamplingSettings {
  /** Of consistency models; all three or none. */
  readonly steps?: number | undefined;
  readonly timesteps?: TrainConfig["timesteps"] | undefined;
  readonly guidanceScale?: number | undefined;
  /** Of diffusion models. */
  readonly ddim?: Omit<DdimSampling, "kind"> | undefined;
}

/**
 * The settings of all models of an evaluation. What is given is about the base and models of its kind; those of the other kind are sampled as is usual for them, but for the setting
 * that only they have.
 * @param models the base first
 * @throws UsageError as `chooseSampling`
 */
export function resolveSampling(models: readonly OpenedModel[], given: GivenSampling, config?: TrainConfig): SamplingSettings {
  const base = models[0]!;
  const other = models.find((model) => samplerKind(model) !== samplerKind(base));
  const { timesteps, eta } = given;
  const isOther = (kind: Sampling["kind"]): boolean => other !== undefined && samplerKind(other) === kind;
  const all = [
    chooseSampling(base, { ...given, timesteps: isOther("consistency") ? undefined : timesteps, eta: isOther("ddim") ? undefined : eta }, config),
    ...(other === undefined ? [] : [chooseSampling(other, samplerKind(other) === "ddim" ? { eta } : { timesteps })]),
  ];
  const settings: { -readonly [Key in keyof SamplingSettings]: SamplingSettings[Key] } = {};
  for (const { kind, ...rest } of all) {
    if (kind === "ddim") settings.ddim = rest as Omit<DdimSampling, "kind">;
    else Object.assign(settings, rest);
  }
  return settings;
}

/**
 * How an evaluation samples a model.
 * @throws UsageError `model-kind` for a kind that it has no settings of
 */
export function samplingOf({ steps, timesteps, guidanceScale, ddim }: SamplingSettings, model: OpenedModel): Sampling {
  const kind = samplerKind(model);
  if (kind === "ddim" && ddim !== undefined) return { kind, ...ddim };
  if (kind === "consistency" && steps !== undefined && timesteps !== undefined && guidanceScale !== undefined) return { kind, steps, timesteps, guidanceScale };
  const expected = kind === "ddim" ? "consistency" : "diffusion";
  throw new UsageError("model-kind", `evaluate: expected a ${expected} model, as the evaluation samples, got a ${kind === "ddim" ? "diffusion" : "consistency"} model (at ${model.path})`, "say where the model of the evaluation lies now");
}
