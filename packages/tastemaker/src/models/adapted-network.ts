import { guidanceEmbedding, predict, predictGuided, sinusoidOfStep, type UNetOptions, withLora } from "@tastemaker/diffusion";
import { type Backend, concat, type Executable, type HostData, input, program, type Tensor, vjp } from "@tastemaker/tensor";
import type { ParameterSet } from "../train/adamw.ts";
import { adapterInputs, adapterKeys, type AdapterLayout } from "./adapter.ts";
import type { AppliedAdapter } from "./image-sampler.ts";
import type { SamplerParts } from "./sampler-parts.ts";

/** Programs that together need less than this keep their memory between runs. */
const keptBytes = 2 ** 30;

export interface AdaptedNetworkOptions {
  /** Layers with an adapter; undefined is the model as it is. */
  readonly layout?: AdapterLayout | undefined;
  readonly batchSize: number;
  /** `[L, E]`. */
  readonly contextShape: readonly [number, number];
  readonly guidanceScale: number;
  /** `[L, E]` of the empty prompt: makes guidance classifier-free, o = u + w (c − u). Without it the scale is an input of the network, as consistency models have it. */
  readonly emptyContext?: Float32Array | undefined;
  readonly unetOptions?: UNetOptions;
}

/** What one evaluation depends on; rows are independent of each other. */
export interface NetworkInputs {
  /** x, `[B, C, H, W]`. */
  readonly sample: Float32Array;
  readonly timestep: number;
  /** `[B, L, E]`. */
  readonly context: Float32Array;
  /** Strength 1 is the policy, 0 the model without its adapter. Required exactly when the network was opened with a layout. */
  readonly adapter?: AppliedAdapter | undefined;
}

/**
 * The network of a model with its adapter, o(x, t, c) after guidance, for a batch of one size: its output and, when it was opened for training, the gradient of any function of the output by
 * the adapter. The timestep is an input, so all steps share the two programs.
 */
export class AdaptedNetwork {
  readonly #parts: SamplerParts;
  readonly #options: AdaptedNetworkOptions;
  readonly #keys: readonly string[];
  readonly #forward: Executable;
  readonly #backward: Executable | undefined;
  /** Large programs give their memory back when the other's turn comes, so that their peaks do not add up. */
  readonly #takesTurns: boolean;

  private constructor(parts: SamplerParts, options: AdaptedNetworkOptions, forward: Executable, backward: Executable | undefined) {
    this.#parts = parts;
    this.#options = options;
    this.#keys = parameterKeys(options.layout);
    this.#forward = forward;
    this.#backward = backward;
    this.#takesTurns = [forward, backward].reduce((total, program) => total + (program?.memory?.peakBytes ?? 0), 0) > keptBytes;
  }

  /** Compiles the network. @param hasGradient whether `gradient` will be called */
  static async open(parts: SamplerParts, options: AdaptedNetworkOptions, backend: Backend, hasGradient = false): Promise<AdaptedNetwork> {
    const { output, adapter } = trace(parts, options);
    const forward = await backend.compile(program({ output }));
    if (!hasGradient) return new AdaptedNetwork(parts, options, forward, undefined);
    const slopes = vjp([output], [input("cotangent", output.shape)], adapter);
    const backward = await backend.compile(program(Object.fromEntries(parameterKeys(options.layout).map((key, i) => [key, slopes[i]!]))));
    return new AdaptedNetwork(parts, options, forward, backward);
  }

  get batchSize(): number {
    return this.#options.batchSize;
  }

  /** Expected need of a gradient in bytes beside the mapped weights, where the backend can tell. */
  get peakBytes(): number | undefined {
    return (this.#backward ?? this.#forward).memory?.peakBytes;
  }

  /** o, `[B, C, H, W]`. Equal rows in equal places give equal bits. */
  async output(inputs: NetworkInputs): Promise<Float32Array> {
    if (this.#takesTurns) await this.#backward?.rest();
    const { output } = await this.#forward.run(this.#feeds(inputs));
    return output!.data as Float32Array;
  }

  /** The gradient by the adapter of a function whose gradient by o is `cotangent` `[B, C, H, W]`. Needs `hasGradient`. */
  async gradient(inputs: NetworkInputs, cotangent: HostData): Promise<ParameterSet> {
    if (this.#takesTurns) await this.#forward.rest();
    const results = await this.#backward!.run({ ...this.#feeds(inputs), cotangent });
    return new Map(this.#keys.map((key) => [key, results[key]!.data as Float32Array]));
  }

  async rest(): Promise<void> {
    await this.#forward.rest();
    await this.#backward?.rest();
  }

  async dispose(): Promise<void> {
    await this.#forward.dispose();
    await this.#backward?.dispose();
  }

  #feeds({ sample, timestep, context, adapter }: NetworkInputs): Record<string, HostData> {
    const { batchSize, guidanceScale, emptyContext } = this.#options;
    const { config } = this.#parts.unet;
    const feeds: Record<string, HostData> = {
      ...Object.fromEntries(this.#parts.weights ?? []),
      ...(this.#options.layout !== undefined && { ...Object.fromEntries(adapter?.parameters ?? []), adapter_scale: new Float32Array(batchSize).fill(adapter?.strength ?? 0) }),
      sample,
      sinusoid: sinusoidOfStep(config, timestep),
      context,
    };
    if (emptyContext !== undefined) feeds["empty_context"] = repeated(emptyContext, batchSize);
    if (config.timeCondProjDim !== undefined) feeds["cond"] = repeated(guidanceEmbedding(guidanceScale, config.timeCondProjDim), batchSize);
    return feeds;
  }
}

function parameterKeys(layout: AdapterLayout | undefined): string[] {
  return (layout?.layers ?? []).flatMap(({ module }) => {
    const { down, up } = adapterKeys(module);
    return [down, up];
  });
}

function trace(parts: SamplerParts, { layout, batchSize, contextShape, guidanceScale, emptyContext, unetOptions }: AdaptedNetworkOptions): { readonly output: Tensor; readonly adapter: readonly Tensor[] } {
  const { scope: base, config } = parts.unet;
  const sample = input("sample", [batchSize, ...parts.latentShape]);
  const sinusoid = input("sinusoid", [1, config.down[0]!.channels]);
  const context = input("context", [batchSize, ...contextShape]);
  const scale = input("adapter_scale", [batchSize]);
  const lora = layout && adapterInputs(layout, emptyContext === undefined ? scale : concat([scale, scale], 0));
  const adapter = (layout?.layers ?? []).flatMap(({ module }) => {
    const { down, up } = lora!.targets.get(module)!;
    return [down, up];
  });
  const denoiser = { scope: lora === undefined ? base : withLora(base, lora), config, ...(unetOptions && { options: unetOptions }) };
  if (emptyContext !== undefined) {
    const output = predictGuided(denoiser, sample, sinusoid, { scale: guidanceScale, context, uncondContext: input("empty_context", [batchSize, ...contextShape]) });
    return { output, adapter };
  }
  const cond = config.timeCondProjDim === undefined ? undefined : input("cond", [batchSize, config.timeCondProjDim]);
  return { output: predict(denoiser, sample, sinusoid, { context, cond }), adapter };
}

function repeated(row: Float32Array | Float64Array, rows: number): Float32Array {
  const result = new Float32Array(rows * row.length);
  for (let i = 0; i < rows; i++) result.set(row, i * row.length);
  return result;
}
