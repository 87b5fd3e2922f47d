import { guidanceEmbedding, type LcmStep, lcmSteps, type LcmTimesteps, timestepEmbedding, unet, withLora } from "@tastemaker/diffusion";
import { type Backend, type Executable, type HostData, input, normal, program } from "@tastemaker/tensor";
import type { ParameterSet } from "../train/adamw.ts";
import { adapterInputs, type AdapterLayout } from "./adapter.ts";
import type { OpenedModel } from "./open-model.ts";
import { compileDecoder, joinRows, type SamplerParts, samplerParts, splitRows } from "./sampler-parts.ts";

export interface SamplerSettings {
  readonly steps: number;
  readonly timesteps: LcmTimesteps;
  readonly guidanceScale: number;
}

/** Random numbers of one picture: the first latent and the noise after each step but the last, each `[C, H, W]`. */
export interface PictureNoise {
  readonly latent: Float64Array;
  readonly steps: readonly Float64Array[];
}

/** The noise of one picture of a stream; `index` addresses the picture, so it does not matter which others are made. */
export function pictureNoise(address: { readonly seed: number; readonly stream: string; readonly index: number }, latentShape: readonly number[], steps: number): PictureNoise {
  const count = latentShape.reduce((product, size) => product * size, 1);
  const { seed, stream, index } = address;
  const draw = (step: number): Float64Array => normal({ seed, stream, indices: [index, step] }, count);
  return { latent: draw(0), steps: Array.from({ length: steps - 1 }, (_, step) => draw(step + 1)) };
}

/** The noise of several pictures as a program takes it: `latents` `[B, C, H, W]`, `noise` `[N−1, B, C, H, W]`. */
export function stackNoise(pictures: readonly PictureNoise[]): { latents: Float32Array; noise: Float32Array } {
  const count = pictures[0]!.latent.length;
  const steps = pictures[0]!.steps.length;
  const latents = new Float32Array(pictures.length * count);
  const noise = new Float32Array(steps * pictures.length * count);
  for (const [row, picture] of pictures.entries()) {
    latents.set(picture.latent, row * count);
    for (const [step, values] of picture.steps.entries()) noise.set(values, (step * pictures.length + row) * count);
  }
  return { latents, noise };
}

/** A picture to make. */
export interface PictureRequest {
  /** `[L, E]`, from `TextContexts`. */
  readonly context: Float32Array;
  readonly noise: PictureNoise;
}

/** The adapter's matrices and how strongly they act; strength 0 is the base model. */
export interface AppliedAdapter {
  readonly parameters: ParameterSet;
  readonly strength: number;
}

/** Makes pictures with or without an adapter, whatever the kind of model. */
export interface PictureSampler {
  /**
   * The pictures, planar RGB in [0, 1], `[3, S, S]` each.
   * @param adapter Required exactly when the sampler was opened with a layout.
   */
  sample(requests: readonly PictureRequest[], adapter?: AppliedAdapter): Promise<Float32Array[]>;
  /** Gives back the memory that large runs leave behind; the next pictures take it again. */
  rest(): Promise<void>;
  dispose(): Promise<void>;
}

/**
 * Makes pictures with a latent consistency model, one compiled sampling step run N times; pictures are made `batchSize` at a time.
 * The formulas are those of `LcmStep`; without gradients, so that any number of steps costs the same memory.
 */
export class ImageSampler implements PictureSampler {
  readonly #parts: SamplerParts;
  readonly #settings: SamplerSettings;
  readonly #layout: AdapterLayout | undefined;
  readonly #batchSize: number;
  readonly #steps: readonly LcmStep[];
  readonly #step: Executable;
  readonly #decode: Executable;

  private constructor(parts: SamplerParts, options: SamplerOptions, steps: readonly LcmStep[], step: Executable, decode: Executable) {
    this.#parts = parts;
    this.#settings = options.settings;
    this.#layout = options.layout;
    this.#batchSize = options.batchSize;
    this.#steps = steps;
    this.#step = step;
    this.#decode = decode;
  }

  /** Compiles the sampler of a model on disk. @throws UsageError for more steps than the model's grid has */
  static open(model: OpenedModel, options: SamplerOptions, backend: Backend): Promise<ImageSampler> {
    return ImageSampler.of(samplerParts(model), options, backend);
  }

  /** Compiles the sampler of any networks. @throws UsageError for more steps than the model's grid has */
  static async of(parts: SamplerParts, options: SamplerOptions, backend: Backend): Promise<ImageSampler> {
    const { settings, layout, batchSize, contextShape } = options;
    const steps = lcmSteps(parts.scheduler, settings.steps, settings.timesteps);
    const { scope: base, config } = parts.unet;
    const scope = layout === undefined ? base : withLora(base, adapterInputs(layout, input("adapter_scale", [batchSize])));
    const output = unet(scope, config, {
      sample: input("sample", [batchSize, ...parts.latentShape]),
      sinusoid: input("sinusoid", [batchSize, config.down[0]!.channels]),
      context: input("context", [batchSize, ...contextShape]),
      ...(config.timeCondProjDim === undefined ? {} : { cond: input("cond", [batchSize, config.timeCondProjDim]) }),
    });
    return new ImageSampler(parts, options, steps, await backend.compile(program({ output })), await compileDecoder(parts, batchSize, backend));
  }

  /**
   * The pictures, planar RGB in [0, 1], `[3, S, S]` each.
   * @param adapter Required exactly when the sampler was opened with a layout.
   */
  async sample(requests: readonly PictureRequest[], adapter?: AppliedAdapter, onPicture?: (done: number) => void): Promise<Float32Array[]> {
    const pictures: Float32Array[] = [];
    for (let start = 0; start < requests.length; start += this.#batchSize) {
      const part = requests.slice(start, start + this.#batchSize);
      pictures.push(...(await this.#batch(part, adapter)));
      onPicture?.(pictures.length);
    }
    return pictures;
  }

  /** Gives back the memory that large runs leave behind; the next pictures take it again. */
  async rest(): Promise<void> {
    await this.#step.rest();
    await this.#decode.rest();
  }

  async dispose(): Promise<void> {
    await this.#step.dispose();
    await this.#decode.dispose();
  }

  async #batch(requests: readonly PictureRequest[], adapter: AppliedAdapter | undefined): Promise<Float32Array[]> {
    const { unet, weights } = this.#parts;
    const { config } = unet;
    const rows = this.#batchSize;
    // A short last batch is filled with its first picture, so that one compiled size is enough.
    const padded = Array.from({ length: rows }, (_, row) => requests[row] ?? requests[0]!);
    const context = joinRows(padded.map((request) => request.context));
    const fixed: Record<string, HostData> = { ...Object.fromEntries(weights ?? []), context };
    if (config.timeCondProjDim !== undefined) fixed["cond"] = repeated(guidanceEmbedding(this.#settings.guidanceScale, config.timeCondProjDim), rows);
    if (this.#layout !== undefined) {
      fixed["adapter_scale"] = new Float32Array(rows).fill(adapter?.strength ?? 0);
      for (const [key, values] of adapter?.parameters ?? []) fixed[key] = values;
    }
    const { latents: x, noise } = stackNoise(padded.map((request) => request.noise));
    for (const [index, { timestep, fromSample, fromOutput, next }] of this.#steps.entries()) {
      const sinusoid = repeated(timestepEmbedding(timestep, config.down[0]!.channels, config.flipSinToCos, config.freqShift), rows);
      const { output } = await this.#step.run({ ...fixed, sample: x, sinusoid });
      const { data } = output!;
      const offset = index * x.length;
      for (let i = 0; i < x.length; i++) {
        const denoised = fromSample * x[i]! + fromOutput * data[i]!;
        x[i] = next === undefined ? denoised : next.a * denoised + next.sigma * noise[offset + i]!;
      }
    }
    const { image } = await this.#decode.run({ latent: x });
    return splitRows(image!.data as Float32Array, rows).slice(0, requests.length);
  }
}

export interface SamplerOptions {
  readonly settings: SamplerSettings;
  /** Layers with an adapter; undefined samples the model as it is. */
  readonly layout?: AdapterLayout;
  readonly batchSize: number;
  /** `[L, E]`. */
  readonly contextShape: readonly [number, number];
}

function repeated(row: Float64Array, rows: number): Float32Array {
  const result = new Float32Array(rows * row.length);
  for (let i = 0; i < rows; i++) result.set(row, i * row.length);
  return result;
}
