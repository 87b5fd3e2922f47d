import {
  autoencoderReduction,
  clipText,
  type ClipTextConfig,
  clipTextParameters,
  type ConfigJson,
  encodeSafetensors,
  type Parameter,
  parseClipTextConfig,
  parseSchedulerConfig,
  parseUNetConfig,
  signalAndNoise,
  type TensorToStore,
  unet,
  unetParameters,
} from "@tastemaker/diffusion";
import { type Backend, input, mean, mul, normal, program, square, sub, uniform } from "@tastemaker/tensor";
import { VisitOrder } from "../data/captioned-images.ts";
import { contactSheet } from "../images/contact-sheet.ts";
import { DiffusionSampler } from "../models/diffusion-sampler.ts";
import { splitRows } from "../models/sampler-parts.ts";
import type { ParameterSet } from "../train/adamw.ts";
import type { LatentCache } from "./latent-cache.ts";
import type { Autoencoder } from "./open-component.ts";
import type { Stage } from "./stage.ts";
import type { MadeTokenizer } from "./text-ids.ts";
import { sinusoids } from "./sinusoids.ts";
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

/** Tensors of some parameters, without a prefix, ready to be stored. */
export function tensorsOf(values: ParameterSet, parameters: readonly Parameter[], prefix: string): Map<string, TensorToStore> {
  return new Map(parameters.filter(({ key }) => key.startsWith(prefix)).map(({ key, shape }) => [key.slice(prefix.length), { dtype: "F32", shape, data: values.get(key)! }]));
}

/** How the sheets are drawn. */
const sheetSettings = { steps: 20, guidanceScale: 5 } as const;

/** The text encoder's hidden states of captions, by its present parameters. */
async function encodeCaptions(captions: readonly string[], text: ClipTextConfig, tokens: MadeTokenizer, average: ParameterSet, backend: Backend): Promise<Float32Array[]> {
  const { hidden } = clipText(trainableScope("text_encoder."), text, input("ids", [captions.length, tokens.length], "int32"));
  const encoder = await backend.compile(program({ hidden }));
  const outputs = await encoder.run({ ...Object.fromEntries(withKeys(average, "text_encoder.")), ids: tokens.ids(captions) });
  await encoder.dispose();
  return splitRows(outputs["hidden"]!.data as Float32Array, captions.length);
}

const withKeys = (values: ParameterSet, prefix: string): ParameterSet => new Map([...values].filter(([key]) => key.startsWith(prefix)));

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
      const count = sheetPrompts.length;
      const [emptyContext, ...contexts] = await encodeCaptions(["", ...sheetPrompts], text, tokens, average, backend);
      const imageSize = side * autoencoderReduction(vae.config);
      const parts = { unet: { scope: trainableScope("unet."), config }, vae, scheduler, latentShape: cache.shape, imageSize, weights: withKeys(average, "unet.") };
      const sampler = await DiffusionSampler.of(parts, { ...sheetSettings, batchSize: count, contextShape: [tokens.length, text.width], emptyContext: emptyContext! }, backend);
      const pictures = await sampler.sample(contexts.map((context, index) => ({ context, latent: normal({ seed, stream: "sheet", indices: [index] }, each) })));
      await sampler.dispose();
      return { png: await contactSheet(pictures, imageSize, 8), scores: {} };
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
