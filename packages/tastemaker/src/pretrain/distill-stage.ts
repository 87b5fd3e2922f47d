import { autoencoderReduction, type ConfigJson, encodeSafetensors, parseSchedulerConfig, parseUNetConfig, unetParameters } from "@tastemaker/diffusion";
import type { Backend } from "@tastemaker/tensor";
import { contactSheet } from "../images/contact-sheet.ts";
import { ImageSampler, pictureNoise } from "../models/image-sampler.ts";
import { splitRows } from "../models/sampler-parts.ts";
import type { ParameterSet } from "../train/adamw.ts";
import { consistencyPhase } from "./consistency-phase.ts";
import type { DistillObjective, DistillSettings, Teacher } from "./distill-objective.ts";
import type { LatentCache } from "./latent-cache.ts";
import type { Stage } from "./stage.ts";
import { trainableScope, withPrefix } from "./trainable.ts";
import { trajectoryPhase } from "./trajectory-phase.ts";
import { ddimSchedulerJson, tensorsOf } from "./unet-stage.ts";

/** The consistency model's scheduler, as diffusers writes it. */
export const lcmSchedulerJson: ConfigJson = {
  ...ddimSchedulerJson,
  _class_name: "LCMScheduler",
  original_inference_steps: 50,
  timestep_scaling: 10,
};

/** How the sheets are drawn. */
const sheetSettings = { steps: 8, timesteps: "linspace", guidanceScale: 4 } as const;

/**
 * Making a few-step consistency model from a diffusion model, either from whole guided trajectories of the teacher (`trajectory-phase.ts`) or by
 * latent consistency distillation (`consistency-phase.ts`).
 */
export function distillStage(settings: DistillSettings, teacher: Teacher, cache: LatentCache, sheetPrompts: readonly string[], seed: number, workers: number, backend: Backend, start?: ParameterSet): Stage {
  const scheduler = parseSchedulerConfig(lcmSchedulerJson);
  const studentJson = { ...teacher.unet.json, time_cond_proj_dim: settings.condWidth };
  const config = parseUNetConfig(studentJson);
  const parameters = withPrefix("unet.", unetParameters(config)).map((parameter) =>
    // Starts as the teacher, to whom the guidance embedding means nothing.
    parameter.key.includes("cond_proj") ? { ...parameter, initial: { kind: "constant", value: 0 } as const } : parameter,
  );
  const objective: DistillObjective = { settings, teacher, cache, scheduler, config, seed, workers, keys: parameters.map(({ key }) => key) };
  return {
    name: "distill",
    parameters,
    start: start ?? new Map([...teacher.values].map(([key, values]) => [`unet.${key}`, values])),
    optimizer: { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 },
    learningRate: settings.learningRate,
    warmupSteps: 100,
    averageDecay: 0.995,
    ...(settings.method === "consistency" ? { targetDecay: settings.targetDecay } : {}),
    phases: [settings.method === "consistency" ? consistencyPhase(objective) : trajectoryPhase(objective)],
    sample: async (average) => {
      const imageSize = cache.shape[1] * autoencoderReduction(teacher.vae.config);
      const parts = { unet: { scope: trainableScope("unet."), config }, vae: teacher.vae, scheduler, latentShape: cache.shape, imageSize, weights: average };
      const sampler = await ImageSampler.of(parts, { settings: sheetSettings, batchSize: sheetPrompts.length, contextShape: teacher.contextShape }, backend);
      const contexts = splitRows(await teacher.contexts(sheetPrompts), sheetPrompts.length);
      const pictures = await sampler.sample(contexts.map((context, index) => ({ context, noise: pictureNoise({ seed, stream: "sheet", index }, cache.shape, sheetSettings.steps) })));
      await sampler.dispose();
      return { png: await contactSheet(pictures, imageSize, 8), scores: {} };
    },
    finish: async (average) =>
      new Map<string, string | Uint8Array>([
        ["unet/config.json", `${JSON.stringify({ _class_name: "UNet2DConditionModel", ...studentJson }, null, 2)}\n`],
        ["unet/diffusion_pytorch_model.safetensors", encodeSafetensors(tensorsOf(average, parameters, "unet."), new Map([["format", "pt"]]))],
        ["scheduler/scheduler_config.json", `${JSON.stringify(lcmSchedulerJson, null, 2)}\n`],
      ]),
  };
}
