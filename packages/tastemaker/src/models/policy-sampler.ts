import type { Backend, Executable } from "@tastemaker/tensor";
import type { AdaptedNetwork } from "./adapted-network.ts";
import type { AppliedAdapter, PictureRequest, PictureSampler } from "./image-sampler.ts";
import { compileDecoder, joinRows, type SamplerParts, splitRows } from "./sampler-parts.ts";
import type { PolicySchedule, WalkStep } from "./policy-schedule.ts";

/** What a batch of pictures passed through: all that the densities of its steps need. */
export interface Walk {
  /** x_0 … x_N, `[B, C, H, W]` each. */
  readonly x: readonly Float32Array[];
  /** o_0 … o_(N−1), likewise. */
  readonly output: readonly Float32Array[];
  /** `[B, L, E]`. */
  readonly context: Float32Array;
  /** Planar RGB in [0, 1], `[3, S, S]` each. */
  readonly pictures: readonly Float32Array[];
}

/** x' = μ + σ z, rounded once. @param noise a picture's draws, z of step `index`; zeros where the step adds none */
function nextLatent(x: Float32Array, output: Float32Array, { meanFromSample, meanFromOutput, sigma }: WalkStep, noise: readonly (Float64Array | undefined)[]): Float32Array {
  const next = new Float32Array(x.length);
  const size = x.length / noise.length;
  for (const [row, z] of noise.entries()) {
    for (let i = 0; i < size; i++) {
      const at = row * size + i;
      next[at] = meanFromSample * x[at]! + meanFromOutput * output[at]! + (z === undefined ? 0 : sigma * z[i]!);
    }
  }
  return next;
}

/** Makes pictures by Gaussian steps of any family (`policy-schedule.ts`), with or without an adapter: the pictures of training by policy objectives, and all of diffusion models. */
export class PolicySampler implements PictureSampler {
  readonly #network: AdaptedNetwork;
  readonly #schedule: PolicySchedule;
  readonly #decode: Executable;

  private constructor(network: AdaptedNetwork, schedule: PolicySchedule, decode: Executable) {
    this.#network = network;
    this.#schedule = schedule;
    this.#decode = decode;
  }

  static async open(network: AdaptedNetwork, schedule: PolicySchedule, parts: SamplerParts, backend: Backend): Promise<PolicySampler> {
    return new PolicySampler(network, schedule, await compileDecoder(parts, network.batchSize, backend));
  }

  /** Samples one full batch and keeps the way. @param requests exactly as many as the network's batch has rows */
  async walk(requests: readonly PictureRequest[], adapter?: AppliedAdapter): Promise<Walk> {
    const { steps, decoded } = this.#schedule;
    const context = joinRows(requests.map((request) => request.context));
    const x = [joinRows(requests.map(({ noise }) => noise.latent))];
    const outputs: Float32Array[] = [];
    for (const [index, step] of steps.entries()) {
      const output = await this.#network.output({ sample: x[index]!, timestep: step.timestep, context, adapter });
      outputs.push(output);
      const draws = requests.map(({ noise }) => (step.sigma > 0 ? noise.steps[index]! : undefined));
      x.push(nextLatent(x[index]!, output, step, draws));
    }
    const last = steps.length - 1;
    const latent = decoded === undefined ? x[steps.length]! : x[last]!.map((value, i) => decoded.fromSample * value + decoded.fromOutput * outputs[last]![i]!);
    const { image } = await this.#decode.run({ latent });
    return { x, output: outputs, context, pictures: splitRows(image!.data as Float32Array, requests.length) };
  }

  /** The pictures, planar RGB in [0, 1], `[3, S, S]` each. */
  async sample(requests: readonly PictureRequest[], adapter?: AppliedAdapter): Promise<Float32Array[]> {
    const { batchSize } = this.#network;
    const pictures: Float32Array[] = [];
    for (let start = 0; start < requests.length; start += batchSize) {
      const part = requests.slice(start, start + batchSize);
      // A short last batch is filled with its first picture, so that one compiled size is enough.
      const padded = Array.from({ length: batchSize }, (_, row) => part[row] ?? part[0]!);
      pictures.push(...(await this.walk(padded, adapter)).pictures.slice(0, part.length));
    }
    return pictures;
  }

  async rest(): Promise<void> {
    await this.#network.rest();
    await this.#decode.rest();
  }

  /** Also disposes of the network. */
  async dispose(): Promise<void> {
    await this.#network.dispose();
    await this.#decode.dispose();
  }
}
