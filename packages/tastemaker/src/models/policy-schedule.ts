import { ddimSteps, type LcmTimesteps, lcmSteps, type SchedulerConfig } from "@tastemaker/diffusion";
import { ddimPolicySteps, type GaussianStep, lcmPolicySteps } from "../objectives/step-policy.ts";

/** A step of a sampler in numbers, with a density or without: x' = meanFromSample·x + meanFromOutput·o + sigma·z. */
export interface WalkStep extends Pick<GaussianStep, "timestep" | "meanFromSample" | "meanFromOutput"> {
  /** 0: the step is deterministic and has no density. */
  readonly sigma: number;
  /** The step as the losses take it; undefined for a deterministic one. */
  readonly scored: GaussianStep | undefined;
}

/** A sampler's steps, and how the latent that is decoded comes from its last one. */
export interface PolicySchedule {
  readonly steps: readonly WalkStep[];
  /** fromSample·x + fromOutput·o of the last step is decoded; undefined: x' is. */
  readonly decoded: { readonly fromSample: number; readonly fromOutput: number } | undefined;
}

const scoredStep = (step: GaussianStep): WalkStep => ({ ...step, scored: step });

/**
 * The steps of a consistency model; the last one is deterministic.
 * @param lastStepNoise as RLCM's code: the last step is scored too, but what is decoded is the denoised latent all the same
 * @throws UsageError as `lcmSteps`
 */
export function consistencySchedule(scheduler: SchedulerConfig, options: { readonly steps: number; readonly timesteps: LcmTimesteps; readonly lastStepNoise: boolean }): PolicySchedule {
  const schedule = lcmSteps(scheduler, options.steps, options.timesteps);
  const { timestep, fromSample, fromOutput } = schedule.at(-1)!;
  const scored = lcmPolicySteps(scheduler, schedule, options.lastStepNoise).map(scoredStep);
  if (options.lastStepNoise) return { steps: scored, decoded: { fromSample, fromOutput } };
  return { steps: [...scored, { timestep, meanFromSample: fromSample, meanFromOutput: fromOutput, sigma: 0, scored: undefined }], decoded: undefined };
}

/** The steps of DDIM; η = 1 has the variance of ancestral sampling. @throws UsageError as `ddimSteps` */
export function diffusionSchedule(scheduler: SchedulerConfig, options: { readonly steps: number; readonly eta: number }): PolicySchedule {
  const schedule = ddimSteps(scheduler, options.steps, options.eta);
  const scored = new Map(ddimPolicySteps(scheduler, schedule).map((step) => [step.timestep, step]));
  return { steps: schedule.map(({ timestep, meanFromSample, meanFromOutput, sigma }) => ({ timestep, meanFromSample, meanFromOutput, sigma, scored: scored.get(timestep) })), decoded: undefined };
}

/** Draws of noise that a picture takes besides its first latent. */
export function noiseCount({ steps }: PolicySchedule): number {
  return steps.findLastIndex(({ sigma }) => sigma > 0) + 1;
}
