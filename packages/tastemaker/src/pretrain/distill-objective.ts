import { type ConfigJson, lcmScalings, predictedOriginal, type SchedulerConfig, type Scope, signalAndNoise, unet, type UNetConfig } from "@tastemaker/diffusion";
import { add, constant, mean, mul, sqrt, square, sub, type Tensor } from "@tastemaker/tensor";
import type { ParameterSet } from "../train/adamw.ts";
import type { LatentCache } from "./latent-cache.ts";
import type { Autoencoder } from "./open-component.ts";

export interface DistillSettings {
  readonly method: "trajectory" | "consistency";
  /** Folder of a consistency model's U-Net to begin with, instead of the teacher's own weights. */
  readonly from?: string | undefined;
  readonly learningRate: number;
  readonly batch: number;
  readonly cache: number;
  readonly guidance: readonly [number, number];
  readonly trajectories: number;
  readonly visits: number;
  readonly skip: number;
  readonly huber: number;
  readonly targetDecay: number;
  readonly condWidth: number;
}

/** The teacher, frozen. */
export interface Teacher {
  readonly unet: { readonly scope: Scope; readonly config: UNetConfig; readonly json: ConfigJson };
  /** Starting values of the student: the teacher's own parameters. */
  readonly values: ParameterSet;
  readonly vae: Autoencoder;
  /** Text encoder's hidden states of captions, `[B, L, E]`. */
  contexts(captions: readonly string[]): Promise<Float32Array>;
  /** [length, width] of a context. */
  readonly contextShape: readonly [number, number];
}

/** What a way of distilling needs to make its training step. */
export interface DistillObjective {
  readonly settings: DistillSettings;
  readonly teacher: Teacher;
  readonly cache: LatentCache;
  /** The student's scheduler. */
  readonly scheduler: SchedulerConfig;
  /** The student's U-Net. */
  readonly config: UNetConfig;
  /** Keys of the student's parameters, `unet.…`. */
  readonly keys: readonly string[];
  readonly seed: number;
  readonly workers: number;
}

/** Timestep of a position 0, 1, … on the student's grid. */
export function gridTimestep({ trainTimesteps, originalInferenceSteps }: SchedulerConfig, position: number): number {
  return Math.floor(trainTimesteps / originalInferenceSteps) * (position + 1) - 1;
}

/** The teacher's noise prediction with classifier-free guidance: u + g(c − u). */
export function guidedNoise({ unet: { scope, config } }: Teacher, sample: Tensor, sinusoid: Tensor, contexts: { readonly context: Tensor; readonly emptyContext: Tensor }, guidance: Tensor): Tensor {
  const predict = (context: Tensor): Tensor => unet(scope, config, { sample, sinusoid, context });
  const unconditional = predict(contexts.emptyContext);
  return add(unconditional, mul(guidance, sub(predict(contexts.context), unconditional)));
}

/** Contexts of some captions and as many of the empty one, `[B, L, E]` each, for `guidedNoise`. */
export async function guidedContexts(teacher: Teacher, captions: readonly string[]): Promise<{ readonly context: Float32Array; readonly empty_context: Float32Array }> {
  const all = await teacher.contexts([...captions, ""]);
  const size = teacher.contextShape[0] * teacher.contextShape[1];
  const end = captions.length * size;
  const empty = new Float32Array(end);
  for (let row = 0; row < captions.length; row++) empty.set(all.subarray(end), row * size);
  return { context: all.slice(0, end), empty_context: empty };
}

/** f = fromSample·x + fromOutput·o of a consistency model, per row. */
export const consistencyOf = (x: Tensor, output: Tensor, fromSample: Tensor, fromOutput: Tensor): Tensor => add(mul(x, fromSample), mul(output, fromOutput));

/** The two factors of `consistencyOf` at a timestep, for a network that predicts noise. */
export function consistencyFactors(scheduler: SchedulerConfig, timestep: number): { readonly fromSample: number; readonly fromOutput: number } {
  const { a, sigma } = signalAndNoise(scheduler, timestep);
  const { cSkip, cOut } = lcmScalings(scheduler, timestep);
  const original = predictedOriginal("epsilon", a, sigma);
  return { fromSample: cSkip + cOut * original.sample, fromOutput: cOut * original.output };
}

/** √(d² + c²) − c per element, averaged; `weight` `[B, 1, 1, 1]`. */
export function pseudoHuber(distance: Tensor, c: number, weight: Tensor = constant([1], [1])): Tensor {
  return mean(mul(sub(sqrt(add(square(distance), c * c)), c), weight));
}
