import { type ConfigJson, type Scope, autoencoderParameters, autoencoderReduction, decodeLatent, encodeImage, encodeSafetensors, parseAutoencoderConfig } from "@tastemaker/diffusion";
import { abs, add, type Backend, clamp, exp, input, mean, mul, normal, program, sliceAxis, square, sub, type Tensor } from "@tastemaker/tensor";
import { type CaptionedImages, VisitOrder } from "../data/captioned-images.ts";
import { contactSheet } from "../images/contact-sheet.ts";
import { splitRows } from "../models/sampler-parts.ts";
import type { ParameterSet } from "../train/adamw.ts";
import type { Phase, Stage } from "./stage.ts";
import { trainableScope, trainingProgram } from "./trainable.ts";

export interface VaeSettings {
  /** diffusers `AutoencoderKL` configuration; `scaling_factor` is measured at the end. */
  readonly config: ConfigJson;
  /** Folder of an autoencoder to begin with. */
  readonly from?: string | undefined;
  /** Train the decoder only. */
  readonly freezeEncoder: boolean;
  readonly learningRate: number;
  /** First part of the training on crops: side in pixels, pictures per step, share of the whole. 0 turns it off. */
  readonly cropSide: number;
  readonly cropBatch: number;
  readonly cropShare: number;
  readonly batch: number;
  /** Weight of the mean squared error, beside 1 for the mean absolute error. */
  readonly mseWeight: number;
  /** Weight of the mean absolute difference of neighbouring pixels' differences. */
  readonly edgeWeight: number;
  readonly klWeight: number;
}

/** Differences of neighbouring pixels along an axis. */
function differences(x: Tensor, axis: number): Tensor {
  const size = x.shape[axis]!;
  return sub(sliceAxis(x, axis, 1, size), sliceAxis(x, axis, 0, size - 1));
}

/**
 * Loss of the autoencoder: L1 + mse·MSE + edge·L1 of pixel differences + kl·mean KL to N(0, 1).
 * `image` [B,3,H,W] in [−1, 1], `noise` of the latent's shape.
 */
function vaeLoss(scope: Scope, config: ReturnType<typeof parseAutoencoderConfig>, settings: VaeSettings, image: Tensor, noise: Tensor): Record<string, Tensor> {
  const { mean: center, logvar } = encodeImage(scope, config, image);
  const latent = add(center, mul(exp(mul(logvar, 0.5)), noise));
  const error = sub(decodeLatent(scope, config, latent), image);
  const mse = mean(square(error));
  const edges = add(mean(abs(differences(error, 2))), mean(abs(differences(error, 3))));
  const kl = mul(0.5, mean(sub(add(square(center), exp(logvar)), add(logvar, 1))));
  const loss = add(add(mean(abs(error)), mul(mse, settings.mseWeight)), add(mul(edges, settings.edgeWeight), mul(kl, settings.klWeight)));
  return { loss, mse, kl };
}

/** Peak signal-to-noise ratio in dB for pictures in [0, 1]. */
export function psnr(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += (Math.min(1, Math.max(0, a[i]!)) - b[i]!) ** 2;
  return -10 * Math.log10(total / a.length);
}

function cropBatch(pixels: Float32Array, count: number, side: number, crop: number, address: { readonly seed: number; readonly step: number }): Float32Array {
  const draws = normal({ seed: address.seed, stream: "vae-crop", indices: [address.step] }, 2 * count);
  const result = new Float32Array(count * 3 * crop * crop);
  const room = side - crop;
  const place = (z: number): number => Math.min(room, Math.max(0, Math.round(room / 2 + (z * room) / 4)));
  for (let n = 0; n < count; n++) {
    const [top, left] = [place(draws[2 * n]!), place(draws[2 * n + 1]!)];
    for (let row = 0; row < 3 * crop; row++) {
      const [channel, y] = [Math.floor(row / crop), row % crop];
      const from = ((n * 3 + channel) * side + top + y) * side + left;
      result.set(pixels.subarray(from, from + crop), (n * 3 * crop + row) * crop);
    }
  }
  return result;
}

/** Training an autoencoder from scratch on pictures (captions unused); `heldOut` pictures are for the sheets and the scores. */
export function vaeStage(settings: VaeSettings, images: CaptionedImages<unknown>, heldOut: CaptionedImages<unknown>, seed: number, backend: Backend, start: ParameterSet = new Map()): Stage {
  const config = parseAutoencoderConfig(settings.config);
  const parameters = autoencoderParameters(config);
  const keys = parameters.map(({ key }) => key).filter((key) => !(settings.freezeEncoder && /^(?:encoder|quant_conv)\./.test(key)));
  const reduction = autoencoderReduction(config);
  const order = new VisitOrder(seed, images.size);
  const side = images.imageSize;

  const phase = (until: number, batch: number, crop: number): Phase => {
    const latentSide = crop / reduction;
    const noiseCount = batch * config.latentChannels * latentSide * latentSide;
    const { loss, ...logged } = vaeLoss(trainableScope(""), config, settings, input("image", [batch, 3, crop, crop]), input("noise", [batch, config.latentChannels, latentSide, latentSide]));
    return {
      until,
      batch,
      program: trainingProgram(loss!, logged, keys),
      feeds: async (seen, step) => {
        const { pixels } = await images.batch(order.indices(seen, batch));
        const cropped = crop === side ? pixels : cropBatch(pixels, batch, side, crop, { seed, step });
        return { image: cropped.map((v) => 2 * v - 1), noise: Float32Array.from(normal({ seed, stream: "vae-noise", indices: [step] }, noiseCount)) };
      },
    };
  };
  const usesCrops = settings.cropShare > 0 && settings.cropSide < side;
  const phases = [...(usesCrops ? [phase(settings.cropShare, settings.cropBatch, settings.cropSide)] : []), phase(1, settings.batch, side)];

  const sampleCount = Math.min(24, heldOut.size);
  const sampleScope = trainableScope("");
  const { mean: center } = encodeImage(sampleScope, config, sub(mul(input("image", [sampleCount, 3, side, side]), 2), 1));
  const decoded = clamp(add(mul(decodeLatent(sampleScope, config, center), 0.5), 0.5), 0, 1);
  const sampleProgram = program({ decoded, latent: center });
  const reconstruct = async (average: ParameterSet): Promise<{ pixels: Float32Array; decoded: Float32Array; latent: Float32Array }> => {
    const { pixels } = await heldOut.batch(Array.from({ length: sampleCount }, (_, i) => i));
    const executable = await backend.compile(sampleProgram);
    const outputs = await executable.run({ ...Object.fromEntries(average), image: pixels });
    await executable.dispose();
    return { pixels, decoded: outputs["decoded"]!.data as Float32Array, latent: outputs["latent"]!.data as Float32Array };
  };
  return {
    name: "vae",
    parameters,
    start,
    phases,
    optimizer: { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 },
    learningRate: settings.learningRate,
    warmupSteps: 100,
    averageDecay: 0.995,
    sample: async (average) => {
      const { pixels, decoded: restored } = await reconstruct(average);
      const [originals, copies] = [splitRows(pixels, sampleCount), splitRows(restored, sampleCount)];
      const both = originals.flatMap((original, n) => [original, copies[n]!]);
      return { png: await contactSheet(both, side, 8), scores: { psnr: psnr(restored, pixels) } };
    },
    finish: async (average) => {
      const { latent } = await reconstruct(average);
      const variance = latent.reduce((total, v) => total + v * v, 0) / latent.length;
      // A frozen encoder keeps its scale: latents made before must stay valid.
      const scaling_factor = settings.freezeEncoder ? config.scalingFactor : Number((1 / Math.sqrt(variance)).toFixed(5));
      const json = { _class_name: "AutoencoderKL", ...settings.config, scaling_factor };
      const shapes = new Map(parameters.map(({ key, shape }) => [key, shape]));
      const tensors = new Map([...average].map(([key, data]) => [key, { dtype: "F32" as const, shape: shapes.get(key)!, data }]));
      return new Map<string, string | Uint8Array>([
        ["vae/config.json", `${JSON.stringify(json, null, 2)}\n`],
        ["vae/diffusion_pytorch_model.safetensors", encodeSafetensors(tensors, new Map([["format", "pt"]]))],
      ]);
    },
  };
}
