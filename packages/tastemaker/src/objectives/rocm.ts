import { type Conditioning, type Denoiser, type LcmPoint, predict, predictGuided, sinusoidOfStep, withLora } from "@tastemaker/diffusion";
import { type Operand, type Tensor, add, concat, constant, div, filled, mean, mul, sliceAxis, square, stopGradient, sub, sum } from "@tastemaker/tensor";

import type { RewardNormalization } from "../rewards/normalization.ts";
import { type DivergenceSettings, divergenceOf } from "./divergence.ts";
import type { SamplerStep } from "./sampler-step.ts";

/*
 * ROCM: reward fine-tuning of a consistency model with a distributional regulariser (arXiv 2503.06171, §3–4; specification §3).
 *
 *   J(θ) = E_(c, x_0, z) [ r(image, c) − β Σ_(i=0)^(N−2) D(π_θ(·|x_i, c) ‖ π_ref(·|x_i, c)) ],   loss = −J
 *   π(·|x_i, c) = N(a f(x_i, t_i, c, w), σ² I),   a, σ at t_(i+1);   x_i are the policy's own samples.
 *
 * | symbol | code | meaning |
 * |---|---|---|
 * | f_θ, f_ref | denoised, reference | consistency function with the adapter (LoRA scale 1) and without it (scale 0) |
 * | a, σ | next.a, next.sigma | √ᾱ and √(1−ᾱ) of the following timestep |
 * | δ_i | delta | a (f_θ(x_i) − f_ref(x_i))/σ |
 * | s_i | s | mean (or sum) over D of δ_i², `[B]` |
 * | D_i | divergence | a function of s_i, see `divergence.ts`, `[B]` |
 * | z_i | noise | standard normal |
 * | r, β | rewards, beta | weighted sum of rewards; weight of the divergence |
 * | K | backpropSteps | x_(N−K) is a constant: only the last K steps carry gradient; earlier D_i still count in the loss |
 *
 * A diffusion model sampled by DDIM is the same with its own coefficients (`sampler-step.ts`): f is then μ, a is 1, σ the step's own, and a last step with noise is a transition too.
 *
 * The gradient is pathwise: through reward, decoder and all steps, and through x_i into both networks.
 *
 * Differs from the paper: s is a mean over D unless asked otherwise (so that one β fits every picture size); several rewards are summed, each normalised where asked; f_ref may be detached.
 */

/** The trained matrices in the program: `[rank, in]` and `[out, rank]` by module. */
export type AdapterPairs = ReadonlyMap<string, { readonly down: Tensor; readonly up: Tensor }>;

/** The frozen network and the adapter that is trained. */
export interface TunedDenoiser {
  readonly base: Denoiser;
  readonly adapter: AdapterPairs;
  /** alpha / rank */
  readonly factor: number;
}

/** What the network is conditioned on. */
export interface TunedConditioning extends Conditioning {
  /** Classifier-free guidance u + w (c − u), of diffusion models; the adapter is in both. */
  readonly guidance?: { readonly scale: number; /** `[B, L, E]` */ readonly uncondContext: Tensor } | undefined;
}

/** The following timestep, for which noise is added. */
export interface NextPoint {
  readonly a: Operand;
  readonly sigma: Operand;
}

/** The network whose row b uses the adapter `scale[b]` times. */
export function withScale({ base, adapter, factor }: TunedDenoiser, scale: readonly number[]): Denoiser {
  return { ...base, scope: withLora(base.scope, { targets: adapter, scale, factor }) };
}

/** f(x) with the adapter at strength `scale[b]` in row b, or without it. With guidance, both predictions are one batch of twice the rows. */
function stepValue(tuned: TunedDenoiser, scale: readonly number[] | undefined, x: Tensor, { sinusoid, fromSample, fromOutput }: LcmPoint, { context, cond, guidance }: TunedConditioning): Tensor {
  const network = (rows: readonly number[] | undefined): TunedDenoiser["base"] => (rows === undefined ? tuned.base : withScale(tuned, rows));
  const output =
    guidance === undefined
      ? predict(network(scale), x, sinusoid, { context, cond })
      : predictGuided(network(scale && [...scale, ...scale]), x, sinusoid, { scale: guidance.scale, context, uncondContext: guidance.uncondContext });
  return add(mul(x, fromSample), mul(output, fromOutput));
}

/** Everything that rows are conditioned on, for two copies of the rows. */
function twiceConditioning({ context, cond, guidance }: TunedConditioning): TunedConditioning {
  const twice = (rows: Tensor): Tensor => concat([rows, rows], 0);
  return { context: twice(context), cond: cond && twice(cond), guidance: guidance && { scale: guidance.scale, uncondContext: twice(guidance.uncondContext) } };
}

/** f_θ(x), by itself. */
export function policyDenoised(tuned: TunedDenoiser, x: Tensor, point: LcmPoint, conditioning: TunedConditioning): Tensor {
  return stepValue(tuned, Array<number>(x.shape[0]!).fill(1), x, point, conditioning);
}

/**
 * f_θ(x) and f_ref(x).
 *
 * Exact: both in one batch of 2B rows with adapter scales [1 … 1, 0 … 0]. Detached: the reference runs by itself, so that nothing of it is
 * kept or walked backwards.
 */
export function policyAndReference(
  tuned: TunedDenoiser,
  x: Tensor,
  point: LcmPoint,
  conditioning: TunedConditioning,
  isDetached: boolean,
): { readonly denoised: Tensor; readonly reference: Tensor } {
  if (isDetached) {
    return {
      denoised: policyDenoised(tuned, x, point, conditioning),
      reference: stopGradient(stepValue(tuned, undefined, stopGradient(x), point, conditioning)),
    };
  }
  const batch = x.shape[0]!;
  const scale = Array.from({ length: 2 * batch }, (_, row) => Number(row < batch));
  const both = stepValue(tuned, scale, concat([x, x], 0), point, twiceConditioning(conditioning));
  return { denoised: sliceAxis(both, 0, 0, batch), reference: sliceAxis(both, 0, batch, 2 * batch) };
}

/** s and D of one transition, `[B]` each. `noise` `[M, B, C, H, W]` is for `js-sampled`. */
export function transitionDivergence(
  settings: DivergenceSettings,
  { denoised, reference }: { readonly denoised: Tensor; readonly reference: Tensor },
  { a, sigma }: NextPoint,
  noise?: Tensor,
): { readonly s: Tensor; readonly divergence: Tensor } {
  const delta = div(mul(sub(denoised, reference), a), sigma);
  const s = (settings.reduction === "mean" ? mean : sum)(square(delta), [1, 2, 3]);
  return { s, divergence: divergenceOf(settings, { s, delta, sigma, noise }) };
}

/** x_(i+1) = a f_i + σ z_i. */
export function nextState(denoised: Tensor, noise: Tensor, { a, sigma }: NextPoint): Tensor {
  return add(mul(denoised, a), mul(noise, sigma));
}

/** Everything that a trajectory of the policy passes through. */
export interface RocmTrajectory {
  /** x_0 … x_(N−1), `[B, C, H, W]` */
  readonly x: readonly Tensor[];
  /** f_θ(x_0) … f_θ(x_(N−1)). */
  readonly denoised: readonly Tensor[];
  /** f_ref of every x_i that another state follows; empty without a divergence. */
  readonly reference: readonly Tensor[];
  /** `[B]` per transition; empty without a divergence. */
  readonly s: readonly Tensor[];
  /** `[B]` per transition; empty without a divergence. */
  readonly divergence: readonly Tensor[];
  /** What is decoded: the last f, or what follows it. */
  readonly sample: Tensor;
}

/**
 * Samples from the policy and compares every transition with the reference.
 *
 * @param noise z of every transition, of the latents' shape.
 * @param divergenceNoise Per transition `[M, B, C, H, W]`, for `js-sampled`.
 * @param backpropSteps K, from 1 to N.
 */
export function rocmTrajectory(
  tuned: TunedDenoiser,
  schedule: readonly SamplerStep[],
  settings: DivergenceSettings,
  backpropSteps: number,
  inputs: { readonly latents: Tensor; readonly noise: readonly Tensor[]; readonly divergenceNoise?: readonly Tensor[] | undefined },
  conditioning: TunedConditioning,
): RocmTrajectory {
  const x = [inputs.latents];
  const run = { denoised: [] as Tensor[], reference: [] as Tensor[], s: [] as Tensor[], divergence: [] as Tensor[] };
  for (const [i, step] of schedule.entries()) {
    const isConstant = i < schedule.length - backpropSteps;
    const keep = (value: Tensor): Tensor => (isConstant ? stopGradient(value) : value);
    const { next, timestep, fromSample, fromOutput } = step;
    const sinusoid = sinusoidOfStep(tuned.base.config, timestep);
    const point = { sinusoid: constant(sinusoid, [1, sinusoid.length]), fromSample, fromOutput };
    if (next === undefined || settings.kind === "none") {
      run.denoised.push(keep(policyDenoised(tuned, x[i]!, point, conditioning)));
    } else {
      const { denoised, reference } = policyAndReference(tuned, x[i]!, point, conditioning, settings.detachReference || isConstant);
      const { s, divergence } = transitionDivergence(settings, { denoised, reference }, next, inputs.divergenceNoise?.[i]);
      run.denoised.push(keep(denoised));
      run.reference.push(keep(reference));
      run.s.push(keep(s));
      run.divergence.push(keep(divergence));
    }
    if (next !== undefined) x.push(nextState(run.denoised[i]!, inputs.noise[i]!, next));
  }
  const sample = schedule.at(-1)!.next === undefined ? run.denoised.at(-1)! : x.pop()!;
  return { x, ...run, sample };
}

/** A reward's value on the batch and its factor in the sum. */
export interface WeightedReward {
  readonly weight: number;
  /** Undefined: the value itself is weighted. */
  readonly normalization?: RewardNormalization | undefined;
  /** `[B]`, higher is better. */
  readonly value: Tensor;
}

/**
 * loss = mean over the batch of β ΣD − Σ weight·r, with (r − mean)/std in r's place where a reward is normalised.
 *
 * @param divergence `[transitions, B]`; undefined without one.
 * @param beta Scalar, fed at run time.
 * @returns `loss`, a scalar, and `divergenceTotal` `[B]`, before β.
 */
export function rocmLoss(
  rewards: readonly WeightedReward[],
  divergence: Tensor | undefined,
  beta: Tensor,
  stepReduction: DivergenceSettings["stepReduction"],
  batch: number,
): { readonly loss: Tensor; readonly divergenceTotal: Tensor } {
  const divergenceTotal = divergence === undefined ? filled(0, [batch]) : (stepReduction === "mean" ? mean : sum)(divergence, 0);
  const terms = rewards.map(({ weight, value, normalization }) => mul(normalization === undefined ? value : div(sub(value, normalization.mean), normalization.std), weight));
  const reward = terms.reduce((total, term) => add(total, term));
  return { loss: mean(sub(mul(divergenceTotal, beta), reward)), divergenceTotal };
}
