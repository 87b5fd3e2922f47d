import { ddimSteps, type LcmTimesteps, lcmSteps, predictedNoise, type SchedulerConfig, signalAndNoise } from "@tastemaker/diffusion";

/**
 * One step of a sampler whose steps are Gaussian, of a consistency model or of DDIM alike. Symbols: x the current latent, o the network's output (after guidance), z fresh noise.
 *   μ = meanFromSample·x + meanFromOutput·o;  x' = μ + sigma·z.
 */
export interface PolicyStep {
  readonly timestep: number;
  readonly meanFromSample: number;
  readonly meanFromOutput: number;
  /** 0: the step is deterministic and has no density. */
  readonly sigma: number;
  /** The predicted noise changes by this much per unit of o. */
  readonly noiseFromOutput: number;
}

/** A sampler's steps and how the latent that is decoded comes from its last one. */
export interface PolicySchedule {
  readonly steps: readonly PolicyStep[];
  /** y = fromSample·x + fromOutput·o of the last step is decoded instead of x'; undefined: x' itself is. */
  readonly decoded: { readonly fromSample: number; readonly fromOutput: number } | undefined;
}

/** Change of ε̂ per unit of the network's output at a timestep. */
function noiseFromOutput(scheduler: SchedulerConfig, timestep: number): number {
  const { a, sigma } = signalAndNoise(scheduler, timestep);
  return predictedNoise(scheduler.predictionType, a, sigma).output;
}

/**
 * Steps of a consistency model: μ = a f and σ of the following timestep; the last step is deterministic.
 * @param lastStepNoise as RLCM's code: the last step too is scored, with a and σ of its own timestep; what is decoded is f all the same
 * @throws UsageError as `lcmSteps`
 */
export function consistencyPolicy(scheduler: SchedulerConfig, options: { readonly steps: number; readonly timesteps: LcmTimesteps; readonly lastStepNoise: boolean }): PolicySchedule {
  const schedule = lcmSteps(scheduler, options.steps, options.timesteps);
  const last = schedule.at(-1)!;
  const steps = schedule.map(({ timestep, a, sigma, fromSample, fromOutput, next }): PolicyStep => {
    const to = next ?? (options.lastStepNoise ? { a, sigma } : { a: 1, sigma: 0 });
    return { timestep, meanFromSample: to.a * fromSample, meanFromOutput: to.a * fromOutput, sigma: to.sigma, noiseFromOutput: noiseFromOutput(scheduler, timestep) };
  });
  return { steps, decoded: options.lastStepNoise ? { fromSample: last.fromSample, fromOutput: last.fromOutput } : undefined };
}

/** Steps of DDIM; η = 1 has the variance of ancestral sampling. @throws UsageError as `ddimSteps` */
export function diffusionPolicy(scheduler: SchedulerConfig, options: { readonly steps: number; readonly eta: number }): PolicySchedule {
  const steps = ddimSteps(scheduler, options.steps, options.eta).map(({ timestep, meanFromSample, meanFromOutput, sigma }) => ({ timestep, meanFromSample, meanFromOutput, sigma, noiseFromOutput: noiseFromOutput(scheduler, timestep) }));
  return { steps, decoded: undefined };
}

/** How many draws of noise a picture takes: up to the last step that adds some. */
export function noiseCount({ steps }: PolicySchedule): number {
  return steps.findLastIndex(({ sigma }) => sigma > 0) + 1;
}
