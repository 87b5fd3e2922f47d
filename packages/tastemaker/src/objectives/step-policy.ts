import {
  type Conditioning,
  type DdimGuidance,
  type DdimStep,
  type LcmStep,
  type SchedulerConfig,
  type UNetConfig,
  gaussianLogProbTerms,
  predict,
  predictGuided,
  predictedNoise,
  signalAndNoise,
  sinusoidOfStep,
} from "@tastemaker/diffusion";
import { type Operand, type Tensor, abs, add, cast, constant, div, exp, greater, input, mean, mul, square, stopGradient, sub, sum } from "@tastemaker/tensor";

import { type TunedDenoiser, withScale } from "./rocm.ts";

/*
 * A sampling step as a Gaussian policy, judged on stored states (RLCM, DDPO, DPOK, D3PO; specification §5).
 *
 *   π_θ(x'|x, c) = N(μ_θ(x), σ² I),   μ_θ = meanFromSample·x + meanFromOutput·o_θ(x),   log π = reduce over D of −(x' − μ)²/(2σ²) − log σ − ½ log 2π
 *
 * | symbol | code | meaning |
 * |---|---|---|
 * | x, x' | x, xNext | stored states before and after the step, constants, `[B, C, H, W]` |
 * | o | output | the network's output; with classifier-free guidance u + w (c − u) |
 * | μ, σ | mean, sigma | consistency model: a·f and σ of the following timestep; DDIM: √ᾱ'·x̂₀ + √(1−ᾱ'−σ²)·ε and η√((1−ᾱ')/(1−ᾱ)·(1−ᾱ/ᾱ')) |
 * | ε | epsilon | the noise that the output means, after guidance |
 * | log π | logProb | `[B]` |
 * | log ρ | logRatio | log π_θ − log π_old (or log π_ref), `[B]` |
 *
 * No gradient passes from step to step: every transition is a program of its own, the same for all steps when its numbers are fed (`fedStepPoint`).
 *
 * log ρ = 0 exactly only where both log π, or both means, come out of the same arithmetic: the old ones must be computed by the program that trains, not by the one that
 * sampled, whose batch and order of operations may round differently.
 *
 * Differs from the papers' code: the last step of a consistency model is deterministic and has no density unless `lastStepNoise` asks for RLCM's way; a sum over D besides its
 * mean; rows of a batch share their timestep.
 */

/** One transition in numbers. */
export interface GaussianStep {
  readonly timestep: number;
  readonly meanFromSample: number;
  readonly meanFromOutput: number;
  /** ε = noiseFromSample·x + noiseFromOutput·o */
  readonly noiseFromSample: number;
  readonly noiseFromOutput: number;
  /** > 0 */
  readonly sigma: number;
}

/** ε in terms of a timestep's sample and output. */
function noiseOf(scheduler: SchedulerConfig, timestep: number): Pick<GaussianStep, "noiseFromSample" | "noiseFromOutput"> {
  const { a, sigma } = signalAndNoise(scheduler, timestep);
  const { sample, output } = predictedNoise(scheduler.predictionType, a, sigma);
  return { noiseFromSample: sample, noiseFromOutput: output };
}

/**
 * The transitions of multistep consistency sampling that have a density: N−1, or N with `lastStepNoise`.
 *
 * @param lastStepNoise As RLCM's code: the last step adds noise with a and σ of its own timestep and is scored, though the picture is f itself.
 */
export function lcmPolicySteps(scheduler: SchedulerConfig, schedule: readonly LcmStep[], lastStepNoise: boolean = false): GaussianStep[] {
  return schedule.flatMap(({ timestep, a, sigma, fromSample, fromOutput, next }) => {
    const to = next ?? (lastStepNoise ? { a, sigma } : undefined);
    if (to === undefined) return [];
    return [{ timestep, meanFromSample: to.a * fromSample, meanFromOutput: to.a * fromOutput, ...noiseOf(scheduler, timestep), sigma: to.sigma }];
  });
}

/** The transitions of DDIM sampling that have a density: those with σ > 0, all but perhaps the last when η > 0. */
export function ddimPolicySteps(scheduler: SchedulerConfig, schedule: readonly DdimStep[]): GaussianStep[] {
  return schedule
    .filter(({ sigma }) => sigma > 0)
    .map(({ timestep, meanFromSample, meanFromOutput, sigma }) => ({ timestep, meanFromSample, meanFromOutput, ...noiseOf(scheduler, timestep), sigma }));
}

/** A transition as a program sees it: numbers fixed in the program, or leaves fed per run. */
export interface StepPoint {
  /** `[1, W]` */
  readonly sinusoid: Tensor;
  readonly meanFromSample: Operand;
  readonly meanFromOutput: Operand;
  readonly noiseFromSample: Operand;
  readonly noiseFromOutput: Operand;
  readonly sigma: Operand;
  /** −log σ − ½ log 2π */
  readonly logNormalizer: Operand;
}

const NUMBERS = ["meanFromSample", "meanFromOutput", "noiseFromSample", "noiseFromOutput", "sigma", "logNormalizer"] as const;

function numbersOf(step: GaussianStep): Record<(typeof NUMBERS)[number], number> {
  const { meanFromSample, meanFromOutput, noiseFromSample, noiseFromOutput, sigma } = step;
  return { meanFromSample, meanFromOutput, noiseFromSample, noiseFromOutput, sigma, logNormalizer: gaussianLogProbTerms(sigma).constant };
}

/** A transition written into the program. @throws UsageError `deterministic-step` for σ = 0 */
export function stepPoint(config: UNetConfig, step: GaussianStep): StepPoint {
  const sinusoid = sinusoidOfStep(config, step.timestep);
  return { sinusoid: constant(sinusoid, [1, sinusoid.length]), ...numbersOf(step) };
}

/** A transition whose numbers are leaves, so that all steps share a program; fed by `stepFeeds`. */
export function fedStepPoint(config: UNetConfig): StepPoint {
  const leaf = (name: string): Tensor => input(name, []);
  return {
    sinusoid: input("sinusoid", [1, config.down[0]!.channels]),
    meanFromSample: leaf("meanFromSample"),
    meanFromOutput: leaf("meanFromOutput"),
    noiseFromSample: leaf("noiseFromSample"),
    noiseFromOutput: leaf("noiseFromOutput"),
    sigma: leaf("sigma"),
    logNormalizer: leaf("logNormalizer"),
  };
}

/** The values of `fedStepPoint`'s leaves, by name. @throws UsageError `deterministic-step` for σ = 0 */
export function stepFeeds(config: UNetConfig, step: GaussianStep): Record<string, Float64Array> {
  const numbers = numbersOf(step);
  return { sinusoid: sinusoidOfStep(config, step.timestep), ...Object.fromEntries(NUMBERS.map((name) => [name, Float64Array.of(numbers[name])])) };
}

/** A consistency model's guidance is an embedding, a diffusion model's is classifier-free: two rows of the network for one of the batch. */
export type PolicyConditioning = Conditioning | DdimGuidance;

/** What a network makes of a state, `[B, C, H, W]` each. */
export interface StepPrediction {
  readonly output: Tensor;
  readonly mean: Tensor;
  readonly epsilon: Tensor;
}

/**
 * The tuned model's step (`policy`), or the base model's (`reference`), which is a constant: x is stored, so that nothing trained reaches it.
 * The two are evaluated apart, in batches of the same shape, so that they agree to the bit while the adapter's product is zero.
 */
export function predictStep(tuned: TunedDenoiser, role: "policy" | "reference", x: Tensor, point: StepPoint, conditioning: PolicyConditioning): StepPrediction {
  const isGuided = "uncondContext" in conditioning;
  const rows = x.shape[0]! * (isGuided ? 2 : 1);
  const denoiser = role === "policy" ? withScale(tuned, Array<number>(rows).fill(1)) : tuned.base;
  const predicted = isGuided ? predictGuided(denoiser, x, point.sinusoid, conditioning) : predict(denoiser, x, point.sinusoid, conditioning);
  return predictionOf(role === "policy" ? predicted : stopGradient(predicted), x, point);
}

/** What an output means for a step from x, where the network ran in a program of its own. */
export function predictionOf(output: Tensor, x: Tensor, point: Pick<StepPoint, "meanFromSample" | "meanFromOutput" | "noiseFromSample" | "noiseFromOutput">): StepPrediction {
  return {
    output,
    mean: add(mul(x, point.meanFromSample), mul(output, point.meanFromOutput)),
    epsilon: add(mul(x, point.noiseFromSample), mul(output, point.noiseFromOutput)),
  };
}

/** Over the D numbers of a latent. Every published code takes the mean, which makes log ρ D times smaller than the sum that the density is. */
export type LogProbReduction = "mean" | "sum";

/** `[B, C, H, W]` to `[B]`. */
export function reduceLatent(values: Tensor, reduction: LogProbReduction): Tensor {
  return (reduction === "mean" ? mean : sum)(values, [1, 2, 3]);
}

/** log π(x'|x), `[B]`. */
export function stepLogProb(xNext: Tensor, prediction: Pick<StepPrediction, "mean">, { sigma, logNormalizer }: StepPoint, reduction: LogProbReduction): Tensor {
  const quadratic = reduceLatent(mul(square(div(sub(xNext, prediction.mean), sigma)), -0.5), reduction);
  const count = reduction === "mean" ? 1 : xNext.shape.slice(1).reduce((product, size) => product * size, 1);
  return add(quadratic, mul(logNormalizer, count));
}

/**
 * log π_θ(x'|x) − log π_other(x'|x), `[B]`, from the two means: reduce of ½ ((μ_θ − μ_o)/σ)·((x' − μ_θ)/σ + (x' − μ_o)/σ). Where the steps are near each other this keeps the digits
 * that the difference of two log-probabilities loses, above all of sums over D.
 */
export function stepLogRatio(xNext: Tensor, prediction: Pick<StepPrediction, "mean">, other: Pick<StepPrediction, "mean">, { sigma }: StepPoint, reduction: LogProbReduction): Tensor {
  const moved = div(sub(prediction.mean, other.mean), sigma);
  const away = add(div(sub(xNext, prediction.mean), sigma), div(sub(xNext, other.mean), sigma));
  return reduceLatent(mul(mul(moved, away), 0.5), reduction);
}

/** log ρ of the first pass over new samples, where the old policy is the current one: 0, with the gradient of log π. */
export function firstLogRatio(logProb: Tensor): Tensor {
  return sub(logProb, stopGradient(logProb));
}

/** What is reported of the ratios, as constants. */
export interface RatioDiagnostics {
  /** ρ, of log ρ's shape */
  readonly ratio: Tensor;
  /** ½ mean (log ρ)², a scalar */
  readonly approxKl: Tensor;
  /** Share of the ratios farther from 1 than the clip range, a scalar. */
  readonly clipFraction: Tensor;
}

export function ratioDiagnostics(logRatio: Tensor, clipRange: number): RatioDiagnostics {
  const fixed = stopGradient(logRatio);
  const ratio = exp(fixed);
  return { ratio, approxKl: mul(mean(square(fixed)), 0.5), clipFraction: mean(cast(greater(abs(sub(ratio, 1)), clipRange), "float32")) };
}
