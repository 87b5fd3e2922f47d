import { UsageError } from "@tastemaker/tensor";
import { checkStepCount, predictedNoise, predictedOriginal, signalAndNoise, type SchedulerConfig } from "./noise-schedule.ts";

/**
 * One DDIM step. Symbols: x the current sample, o the network's output (after guidance), z fresh noise.
 *   x₀ = originalFromSample·x + originalFromOutput·o;  μ = meanFromSample·x + meanFromOutput·o;  x' = μ + sigma·z.
 */
export interface DdimStep {
  readonly timestep: number;
  /** ᾱ of this timestep and of the one after it. */
  readonly alphaBar: number;
  readonly alphaBarNext: number;
  /** Standard deviation of the step: η·√((1−ᾱ')/(1−ᾱ)·(1−ᾱ/ᾱ')). */
  readonly sigma: number;
  readonly originalFromSample: number;
  readonly originalFromOutput: number;
  /** μ = √ᾱ'·x₀ + √(1−ᾱ'−σ²)·ε. */
  readonly meanFromSample: number;
  readonly meanFromOutput: number;
}

/** Decreasing timesteps with leading spacing: i·⌊T/N⌋ + `steps_offset`. Throws `UsageError` when `steps` is below 1 or beyond the schedule. */
export function ddimTimesteps(config: SchedulerConfig, steps: number): number[] {
  checkStepCount(steps, config.trainTimesteps);
  const ratio = Math.floor(config.trainTimesteps / steps);
  const first = (steps - 1) * ratio + config.stepsOffset;
  if (first >= config.trainTimesteps) {
    throw new UsageError("step-count", `steps: expected timesteps below ${config.trainTimesteps}, got ${first} with ${steps} steps and steps_offset ${config.stepsOffset}`, "use fewer steps");
  }
  return Array.from({ length: steps }, (_, i) => first - i * ratio);
}

/**
 * All coefficients of a DDIM run, in the order of execution (source: diffusers' DDIMScheduler; spec §5).
 *
 * @param eta 0 is deterministic, 1 has the variance of ancestral sampling. Throws `UsageError` outside [0, 1].
 */
export function ddimSteps(config: SchedulerConfig, steps: number, eta: number = 0): DdimStep[] {
  if (!(eta >= 0 && eta <= 1)) throw new UsageError("eta", `eta: expected a number from 0 to 1, got ${eta}`);
  const timesteps = ddimTimesteps(config, steps);
  const ratio = Math.floor(config.trainTimesteps / steps);
  return timesteps.map((timestep) => {
    const previous = timestep - ratio;
    const alphaBar = config.alphasCumprod[timestep]!;
    const alphaBarNext = previous >= 0 ? config.alphasCumprod[previous]! : config.setAlphaToOne ? 1 : config.alphasCumprod[0]!;
    const variance = ((1 - alphaBarNext) / (1 - alphaBar)) * (1 - alphaBar / alphaBarNext);
    const sigma = eta * Math.sqrt(variance);
    const { a, sigma: noise } = signalAndNoise(config, timestep);
    const original = predictedOriginal(config.predictionType, a, noise);
    const epsilon = predictedNoise(config.predictionType, a, noise);
    const toOriginal = Math.sqrt(alphaBarNext);
    // At η = 1 the radicand may round below zero when ᾱ' is close to 1.
    const toEpsilon = Math.sqrt(Math.max(1 - alphaBarNext - sigma * sigma, 0));
    return {
      timestep,
      alphaBar,
      alphaBarNext,
      sigma,
      originalFromSample: original.sample,
      originalFromOutput: original.output,
      meanFromSample: toOriginal * original.sample + toEpsilon * epsilon.sample,
      meanFromOutput: toOriginal * original.output + toEpsilon * epsilon.output,
    };
  });
}
