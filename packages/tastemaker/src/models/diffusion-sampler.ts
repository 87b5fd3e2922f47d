import { ddimSteps, type SchedulerConfig, signalAndNoise, timestepEmbedding, unet } from "@tastemaker/diffusion";
import { add, type Backend, type Executable, input, mul, program, sub } from "@tastemaker/tensor";
import type { OpenedModel } from "./open-model.ts";
import { compileDecoder, joinRows, type SamplerParts, samplerParts, splitRows } from "./sampler-parts.ts";

export interface DiffusionSamplerOptions {
  readonly steps: number;
  /** Scale of classifier-free guidance. */
  readonly guidanceScale: number;
  readonly batchSize: number;
  /** `[L, E]`. */
  readonly contextShape: readonly [number, number];
  /** `[L, E]`: the context of the empty prompt. */
  readonly emptyContext: Float32Array;
}

/** A picture to make: its context `[L, E]` and its first latent `[C, H, W]`. */
export interface DiffusionRequest {
  readonly context: Float32Array;
  readonly latent: Float64Array;
}

/** Signal and noise of a timestep of deterministic DDIM (η = 0) and of the one that follows it. */
export interface DdimPoint {
  readonly timestep: number;
  readonly now: { readonly a: number; readonly sigma: number };
  readonly next: { readonly a: number; readonly sigma: number };
}

/** The points of a run of `steps` steps, in order; the last one leads to timestep 0. */
export function ddimPoints(scheduler: SchedulerConfig, steps: number): DdimPoint[] {
  const timesteps = ddimSteps(scheduler, steps).map(({ timestep }) => timestep);
  return timesteps.map((timestep, i) => ({ timestep, now: signalAndNoise(scheduler, timestep), next: signalAndNoise(scheduler, timesteps[i + 1] ?? 0) }));
}

/** One step in place: x̂0 from x and the predicted noise, then x at the next point. */
export function stepDdim(x: Float32Array, noise: ArrayLike<number>, { now, next }: DdimPoint): void {
  for (let i = 0; i < x.length; i++) x[i] = (next.a * (x[i]! - now.sigma * noise[i]!)) / now.a + next.sigma * noise[i]!;
}

/** Makes pictures with a diffusion model: deterministic DDIM (η = 0) with classifier-free guidance, one compiled step run N times. */
export class DiffusionSampler {
  readonly #parts: SamplerParts;
  readonly #options: DiffusionSamplerOptions;
  readonly #step: Executable;
  readonly #decode: Executable;

  private constructor(parts: SamplerParts, options: DiffusionSamplerOptions, step: Executable, decode: Executable) {
    this.#parts = parts;
    this.#options = options;
    this.#step = step;
    this.#decode = decode;
  }

  /** Compiles the sampler of a model on disk. */
  static open(model: OpenedModel, options: DiffusionSamplerOptions, backend: Backend): Promise<DiffusionSampler> {
    return DiffusionSampler.of(samplerParts(model), options, backend);
  }

  /** Compiles the sampler of any networks. */
  static async of(parts: SamplerParts, options: DiffusionSamplerOptions, backend: Backend): Promise<DiffusionSampler> {
    const { batchSize, contextShape, guidanceScale } = options;
    const { scope, config } = parts.unet;
    const sample = input("sample", [batchSize, ...parts.latentShape]);
    const sinusoid = input("sinusoid", [batchSize, config.down[0]!.channels]);
    const predict = (name: string): ReturnType<typeof unet> => unet(scope, config, { sample, sinusoid, context: input(name, [batchSize, ...contextShape]) });
    const unconditional = predict("empty_context");
    const noise = add(unconditional, mul(sub(predict("context"), unconditional), guidanceScale));
    return new DiffusionSampler(parts, options, await backend.compile(program({ noise })), await compileDecoder(parts, batchSize, backend));
  }

  /** The pictures, planar RGB in [0, 1], `[3, S, S]` each. */
  async sample(requests: readonly DiffusionRequest[], onPicture?: (done: number) => void): Promise<Float32Array[]> {
    const pictures: Float32Array[] = [];
    for (let start = 0; start < requests.length; start += this.#options.batchSize) {
      pictures.push(...(await this.#batch(requests.slice(start, start + this.#options.batchSize))));
      onPicture?.(pictures.length);
    }
    return pictures;
  }

  async dispose(): Promise<void> {
    await this.#step.dispose();
    await this.#decode.dispose();
  }

  async #batch(requests: readonly DiffusionRequest[]): Promise<Float32Array[]> {
    const { batchSize, emptyContext, steps } = this.#options;
    const { unet, scheduler, weights } = this.#parts;
    const { config } = unet;
    const fixed = Object.fromEntries(weights ?? []);
    const padded = Array.from({ length: batchSize }, (_, row) => requests[row] ?? requests[0]!);
    const [context, empty, x] = [joinRows(padded.map((request) => request.context)), joinRows(padded.map(() => emptyContext)), joinRows(padded.map((request) => request.latent))];
    for (const point of ddimPoints(scheduler, steps)) {
      const row = timestepEmbedding(point.timestep, config.down[0]!.channels, config.flipSinToCos, config.freqShift);
      const sinusoid = joinRows(padded.map(() => row));
      const { noise } = await this.#step.run({ ...fixed, sample: x, sinusoid, context, empty_context: empty });
      stepDdim(x, noise!.data, point);
    }
    const { image } = await this.#decode.run({ latent: x });
    return splitRows(image!.data as Float32Array, batchSize).slice(0, requests.length);
  }
}
