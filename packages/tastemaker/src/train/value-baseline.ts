import { sinusoidOfStep, type UNetConfig } from "@tastemaker/diffusion";
import { type Backend, type Executable, gradients, type HostData, input, mean, normal, type Program, program, square, sub } from "@tastemaker/tensor";
import { type ValueLayout, valueOf, valueShapes } from "../objectives/value-network.ts";
import { type AdamWState, createAdamW, type ParameterSet, updateAdamW } from "./adamw.ts";
import type { Walk } from "../models/policy-sampler.ts";
import { statisticsOf } from "./prompt-statistics.ts";
import { feedsOf } from "./rocm-leaves.ts";

/** The value network in training; part of the state of a run. */
export interface ValueState {
  /** By the names of `valueShapes`; updated in place. */
  readonly parameters: ParameterSet;
  readonly optimizer: AdamWState;
  /** Mean and deviation of the first iteration's rewards, which make rewards of any unit numbers of order 1; undefined before it. */
  scale: { readonly mean: number; readonly std: number } | undefined;
}

/** A network that says 0 of everything: the last matrix is 0, the others are N(0, 1/in). */
export function initialValueState(layout: ValueLayout, seed: number): ValueState {
  const parameters = new Map(
    [...valueShapes(layout)].map(([name, shape]) => {
      const count = shape.reduce((product, size) => product * size, 1);
      if (shape.length === 1 || name === "value.weight") return [name, new Float32Array(count)];
      return [name, Float32Array.from(normal({ seed, stream: `value/${name}`, indices: [] }, count), (z) => z / Math.sqrt(shape[0]!))];
    }),
  );
  return { parameters, optimizer: createAdamW(parameters), scale: undefined };
}

/** Rewards as the network is to know them: (r − mean)/(std + 1e-6) of the first rewards that it meets. */
export function scaledRewards(state: ValueState, rewards: readonly number[]): Float64Array {
  state.scale ??= statisticsOf(rewards);
  const { mean: center, std } = state.scale;
  return Float64Array.from(rewards, (reward) => (reward - center) / (std + 1e-6));
}

/** A batch that passed through the sampler, and the scaled rewards of its pictures `[B]`. */
export interface RewardedWalk {
  readonly walk: Walk;
  readonly rewards: Float64Array;
}

/** The scored steps of a schedule: the place of x_t in a walk, and t. */
export interface ValueStep {
  readonly index: number;
  readonly timestep: number;
}

const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 0 };

/** Compiled V(x_t, t, c) for batches of one size, with the gradient of its mean squared error. */
export class ValueBaseline {
  readonly #config: UNetConfig;
  readonly #program: Program;
  readonly #executable: Executable;

  private constructor(config: UNetConfig, traced: Program, executable: Executable) {
    this.#config = config;
    this.#program = traced;
    this.#executable = executable;
  }

  /** @param contextShape `[L, E]` */
  static async open(layout: ValueLayout, options: { readonly config: UNetConfig; readonly batchSize: number; readonly contextShape: readonly [number, number] }, backend: Backend): Promise<ValueBaseline> {
    const { config, batchSize, contextShape } = options;
    const parameters = new Map([...valueShapes(layout)].map(([name, shape]) => [name, input(name, shape)]));
    const value = valueOf(layout, input("x", [batchSize, ...layout.latentShape]), input("sinusoid", [1, layout.sinusoidWidth]), input("context", [batchSize, ...contextShape]), (name) => parameters.get(name)!);
    const loss = mean(square(sub(value, input("rewards", [batchSize]))));
    const slopes = gradients(loss, [...parameters.values()]);
    const traced = program({ value, loss, ...Object.fromEntries([...parameters.keys()].map((name, i) => [`grad.${name}`, slopes[i]!])) });
    return new ValueBaseline(config, traced, await backend.compile(traced));
  }

  async #run(parameters: ParameterSet, { walk, rewards }: RewardedWalk, { index, timestep }: ValueStep): Promise<{ readonly value: Float32Array; readonly loss: number; readonly gradients: ParameterSet }> {
    const feeds: Record<string, HostData> = { ...Object.fromEntries(parameters), x: walk.x[index]!, sinusoid: sinusoidOfStep(this.#config, timestep), context: walk.context, rewards };
    const results = await this.#executable.run(feedsOf(this.#program, feeds));
    return {
      value: results["value"]!.data as Float32Array,
      loss: Number(results["loss"]!.data[0]),
      gradients: new Map([...parameters.keys()].map((name) => [name, results[`grad.${name}`]!.data as Float32Array])),
    };
  }

  /** How much better the pictures of a batch were than V expected at a step: r − V(x_t, t, c), `[B]`. */
  async advantages(state: ValueState, batch: RewardedWalk, step: ValueStep): Promise<Float64Array> {
    const { value } = await this.#run(state.parameters, batch, step);
    return batch.rewards.map((reward, row) => reward - value[row]!);
  }

  /**
   * Fits V to the rewards by AdamW updates, each on the mean squared error over all batches and steps, summed in that order in float64.
   * @returns that error before the first update: 1 for a network that knows nothing, as long as the rewards are as at first
   */
  async fit(state: ValueState, batches: readonly RewardedWalk[], steps: readonly ValueStep[], settings: { readonly updates: number; readonly learningRate: number }): Promise<number> {
    const weight = 1 / (batches.length * steps.length);
    let first: number | undefined;
    for (let update = 0; update < settings.updates; update++) {
      const sums = new Map([...state.parameters].map(([name, values]) => [name, new Float64Array(values.length)]));
      let loss = 0;
      for (const batch of batches) {
        for (const step of steps) {
          const found = await this.#run(state.parameters, batch, step);
          loss += found.loss * weight;
          for (const [name, gradient] of found.gradients) {
            const sum = sums.get(name)!;
            for (let i = 0; i < sum.length; i++) sum[i]! += gradient[i]! * weight;
          }
        }
      }
      first ??= loss;
      updateAdamW(state.parameters, new Map([...sums].map(([name, sum]) => [name, Float32Array.from(sum)])), state.optimizer, settings.learningRate, adam);
    }
    return first!;
  }

  dispose(): Promise<void> {
    return this.#executable.dispose();
  }
}
