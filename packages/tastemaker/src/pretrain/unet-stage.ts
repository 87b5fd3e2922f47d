import {
  clipText,
  clipTextParameters,
  type ConfigJson,
  decodeLatent,
  encodeSafetensors,
  type Parameter,
  parseClipTextConfig,
  parseSchedulerConfig,
  parseUNetConfig,
  type SchedulerConfig,
  signalAndNoise,
  timestepEmbedding,
  type TensorToStore,
  unet,
  unetParameters,
} from "@tastemaker/diffusion";
import { add, type Backend, clamp, div, input, mean, mul, normal, program, square, sub, uniform } from "@tastemaker/tensor";
import { VisitOrder } from "../data/captioned-images.ts";
import { contactSheet } from "../images/contact-sheet.ts";
import { ddimPoints, stepDdim } from "../models/diffusion-sampler.ts";
import type { ParameterSet } from "../train/adamw.ts";
import type { LatentCache } from "./latent-cache.ts";
import type { Autoencoder } from "./open-component.ts";
import type { Stage } from "./stage.ts";
import type { MadeTokenizer } from "./text-ids.ts";
import { trainableScope, trainingProgram, withPrefix } from "./trainable.ts";

export interface UNetSettings {
  /** diffusers folder to begin with. */
  readonly from?: string | undefined;
  /** Folder of the trained autoencoder. */
  readonly vae: string;
  /** Pictures encoded once and kept. */
  readonly cache: number;
  readonly learningRate: number;
  readonly batch: number;
  readonly dropCaption: number;
  readonly minSnrGamma: number;
  readonly config: ConfigJson;
  readonly textConfig: ConfigJson;
}

/** Stable Diffusion's noise schedule, for a diffusion model. */
export const ddimSchedulerJson: ConfigJson = {
  _class_name: "DDIMScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  num_train_timesteps: 1000,
  prediction_type: "epsilon",
  set_alpha_to_one: false,
  steps_offset: 1,
  clip_sample: false,
  timestep_spacing: "leading",
};

/** Rows of sinusoidal timestep embeddings `[B, width]` in float32. */
export function sinusoids(timesteps: readonly number[], width: number): Float32Array {
  const rows = new Float32Array(timesteps.length * width);
  timesteps.forEach((t, i) => rows.set(timestepEmbedding(t, width), i * width));
  return rows;
}

/** Tensors of some parameters, without a prefix, ready to be stored. */
export function tensorsOf(values: ParameterSet, parameters: readonly Parameter[], prefix: string): Map<string, TensorToStore> {
  return new Map(parameters.filter(({ key }) => key.startsWith(prefix)).map(({ key, shape }) => [key.slice(prefix.length), { dtype: "F32", shape, data: values.get(key)! }]));
}

/** Draws pictures from a diffusion model by DDIM with classifier-free guidance: plain deterministic sampling for sheets. */
async function ddimSheet(
  backend: Backend,
  average: ParameterSet,
  scheduler: SchedulerConfig,
  model: ReturnType<typeof samplingProgram>,
  feeds: { readonly ids: Int32Array; readonly emptyIds: Int32Array; readonly guidance: number; readonly steps: number; readonly width: number },
): Promise<Float32Array> {
  const step = await backend.compile(model.step);
  const decode = await backend.compile(model.decode);
  const weights = Object.fromEntries(average);
  const pick = (names: readonly { readonly name: string }[]): Record<string, Float32Array> => Object.fromEntries(names.flatMap(({ name }) => (weights[name] ? [[name, weights[name]]] : [])));
  const x = Float32Array.from(normal({ seed: 0, stream: "sheet", indices: [] }, model.count * model.each));
  for (const point of ddimPoints(scheduler, feeds.steps)) {
    const outputs = await step.run({
      ...pick(model.step.inputs),
      sample: x,
      ids: feeds.ids,
      empty_ids: feeds.emptyIds,
      sinusoid: sinusoids(new Array<number>(model.count).fill(point.timestep), feeds.width),
      guidance: Float32Array.of(feeds.guidance),
    });
    stepDdim(x, outputs["noise"]!.data, point);
  }
  const { image } = await decode.run({ latent: x });
  await step.dispose();
  await decode.dispose();
  return image!.data as Float32Array;
}

function samplingProgram(config: ReturnType<typeof parseUNetConfig>, text: ReturnType<typeof parseClipTextConfig>, vae: Autoencoder, side: number, length: number, count: number): { step: ReturnType<typeof program>; decode: ReturnType<typeof program>; count: number; each: number } {
  const sample = input("sample", [count, config.inChannels, side, side]);
  const sinusoid = input("sinusoid", [count, config.down[0]!.channels]);
  const scope = trainableScope("unet.");
  const textScope = trainableScope("text_encoder.");
  const predict = (ids: string): ReturnType<typeof unet> =>
    unet(scope, config, { sample, sinusoid, context: clipText(textScope, text, input(ids, [count, length], "int32")).hidden });
  const [conditional, unconditional] = [predict("ids"), predict("empty_ids")];
  const noise = add(unconditional, mul(sub(conditional, unconditional), input("guidance", [1])));
  const latent = input("latent", [count, config.inChannels, side, side]);
  const image = clamp(add(mul(decodeLatent(vae.scope, vae.config, div(latent, vae.config.scalingFactor)), 0.5), 0.5), 0, 1);
  return { step: program({ noise }), decode: program({ image }), count, each: config.inChannels * side * side };
}

/**
 * Training a diffusion U-Net and its text encoder together, from scratch, on cached latents: ε-prediction, min-SNR weighting
 * (Hang et al. 2023), captions dropped at random for classifier-free guidance.
 */
export function unetStage(
  settings: UNetSettings,
  cache: LatentCache,
  vae: Autoencoder,
  tokens: MadeTokenizer,
  sheetPrompts: readonly string[],
  seed: number,
  backend: Backend,
  start: ParameterSet = new Map(),
): Stage {
  const config = parseUNetConfig(settings.config);
  const textJson = { ...settings.textConfig, vocab_size: tokens.vocabularySize, eos_token_id: tokens.endId, max_position_embeddings: tokens.length };
  const text = parseClipTextConfig(textJson);
  const scheduler = parseSchedulerConfig(ddimSchedulerJson);
  const parameters = [...withPrefix("unet.", unetParameters(config)), ...withPrefix("text_encoder.", clipTextParameters(text))];
  const { batch } = settings;
  const [channels, side] = cache.shape;
  const each = channels * side * side;
  const width = config.down[0]!.channels;
  const order = new VisitOrder(seed, cache.count);

  const sample = input("sample", [batch, channels, side, side]);
  const noise = input("noise", [batch, channels, side, side]);
  const context = clipText(trainableScope("text_encoder."), text, input("ids", [batch, tokens.length], "int32")).hidden;
  const predicted = unet(trainableScope("unet."), config, { sample, sinusoid: input("sinusoid", [batch, width]), context });
  const errors = mean(square(sub(predicted, noise)), [1, 2, 3]);
  const loss = mean(mul(errors, input("weight", [batch])));
  const model = samplingProgram(config, text, vae, side, tokens.length, sheetPrompts.length);
  const emptyIds = tokens.ids([""]);
  return {
    name: "unet",
    parameters,
    start,
    optimizer: { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.01, maxGradNorm: 1 },
    learningRate: settings.learningRate,
    warmupSteps: 200,
    averageDecay: 0.999,
    phases: [
      {
        until: 1,
        batch,
        program: trainingProgram(loss, { mse: mean(errors) }, parameters.map(({ key }) => key)),
        feeds: async (seen, step) => {
          const z = Float32Array.from(normal({ seed, stream: "unet-noise", indices: [step] }, batch * each));
          const draws = uniform({ seed, stream: "unet-draws", indices: [step] }, 2 * batch);
          const timesteps: number[] = [];
          const weight = new Float32Array(batch);
          const x = new Float32Array(batch * each);
          const ids = new Int32Array(batch * tokens.length);
          order.indices(seen, batch).forEach((index, row) => {
            // Stratified over the batch: every step sees early and late timesteps.
            const t = Math.min(999, Math.floor(((row + draws[2 * row]!) / batch) * 1000));
            const { a, sigma } = signalAndNoise(scheduler, t);
            const snr = (a / sigma) ** 2;
            timesteps.push(t);
            weight[row] = Math.min(snr, settings.minSnrGamma) / snr;
            for (let i = 0; i < each; i++) x[row * each + i] = a * cache.data[index * each + i]! + sigma * z[row * each + i]!;
            ids.set(draws[2 * row + 1]! < settings.dropCaption ? emptyIds : tokens.ids([cache.captions[index]!]), row * tokens.length);
          });
          return { sample: x, noise: z, ids, sinusoid: sinusoids(timesteps, width), weight };
        },
      },
    ],
    sample: async (average) => {
      const rows = sheetPrompts.length;
      const repeated = new Int32Array(rows * tokens.length);
      for (let i = 0; i < rows; i++) repeated.set(emptyIds, i * tokens.length);
      const image = await ddimSheet(backend, average, scheduler, model, { ids: tokens.ids(sheetPrompts), emptyIds: repeated, guidance: 5, steps: 20, width });
      return { png: await contactSheet(image, Math.sqrt(image.length / rows / 3), 8), scores: {} };
    },
    finish: async (average) => {
      const metadata = new Map([["format", "pt"]]);
      const encode = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;
      return new Map<string, string | Uint8Array>([
        ["unet/config.json", encode({ _class_name: "UNet2DConditionModel", ...settings.config })],
        ["unet/diffusion_pytorch_model.safetensors", encodeSafetensors(tensorsOf(average, parameters, "unet."), metadata)],
        ["text_encoder/config.json", encode({ architectures: ["CLIPTextModel"], model_type: "clip_text_model", ...textJson })],
        ["text_encoder/model.safetensors", encodeSafetensors(tensorsOf(average, parameters, "text_encoder."), metadata)],
        ["scheduler/scheduler_config.json", encode(ddimSchedulerJson)],
        ...Object.entries(tokens.files).map(([name, content]): [string, string] => [`tokenizer/${name}`, content]),
      ]);
    },
  };
}
