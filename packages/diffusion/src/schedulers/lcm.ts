import { UsageError, unknownNameError } from "@tastemaker/tensor";
import { checkStepCount, predictedOriginal, signalAndNoise, type SchedulerConfig } from "./noise-schedule.ts";

/**
 * Which timesteps a latent consistency model is run at: `linspace` (diffusers ≥ 0.24), `skipping` (before, and in RLCM's code) or an explicit decreasing
 * list.
 */
export type LcmTimesteps = "linspace" | "skipping" | readonly number[];

/**
 * One step of multistep consistency sampling. Symbols: x the current sample, o the network's output, f the denoised sample, z fresh noise.
 *   f = fromSample·x + fromOutput·o;  x' = next.a·f + next.sigma·z, or the sample is f when `next` is undefined.
 */
export interface LcmStep {
  readonly timestep: number;
  /** a_t and σ_t of this timestep. */
  readonly a: number;
  readonly sigma: number;
  readonly cSkip: number;
  readonly cOut: number;
  readonly fromSample: number;
  readonly fromOutput: number;
  /** The timestep that noise is added for; undefined at the last step, which is deterministic. */
  readonly next: { readonly timestep: number; readonly a: number; readonly sigma: number } | undefined;
}

/**
 * The decreasing timesteps of `steps` steps. For a list, `steps` must be its length.
 * Throws `UsageError` for 0 steps, more than the distillation grid has (50), or a list that does not decrease inside the schedule.
 */
export function lcmTimesteps(config: SchedulerConfig, steps: number, rule: LcmTimesteps = "linspace"): number[] {
  if (typeof rule !== "string") {
    const isValid = rule.every((t, i) => Number.isSafeInteger(t) && t >= 0 && t < config.trainTimesteps && (i === 0 || t < rule[i - 1]!));
    if (rule.length === 0 || rule.length !== steps || !isValid) {
      throw new UsageError(
        "timestep-list",
        `timesteps: expected ${steps} decreasing whole numbers from ${config.trainTimesteps - 1} to 0, got [${rule.slice(0, 60).join(", ")}]`,
      );
    }
    return [...rule];
  }
  const length = config.originalInferenceSteps;
  checkStepCount(steps, length);
  const spacing = Math.floor(config.trainTimesteps / length);
  const reversed = Array.from({ length }, (_, i) => (length - i) * spacing - 1);
  if (rule === "linspace") return Array.from({ length: steps }, (_, i) => reversed[Math.floor(i * (length / steps))]!);
  if (rule === "skipping") return Array.from({ length: steps }, (_, i) => reversed[i * Math.floor(length / steps)]!);
  throw unknownNameError("timesteps", rule, ["linspace", "skipping"]);
}

/** c_skip and c_out of the boundary condition, σ_data = ½: c_skip = ¼/((kt)² + ¼), c_out = kt/√((kt)² + ¼) with k = `timestep_scaling`. */
export function lcmScalings(config: SchedulerConfig, timestep: number): { readonly cSkip: number; readonly cOut: number } {
  const scaled = timestep * config.timestepScaling;
  return { cSkip: 0.25 / (scaled * scaled + 0.25), cOut: scaled / Math.sqrt(scaled * scaled + 0.25) };
}

/** All coefficients of a sampling run, in the order of execution (source: diffusers' LCMScheduler ≥ 0.23; spec §2). Throws like `lcmTimesteps`. */
export function lcmSteps(config: SchedulerConfig, steps: number, rule: LcmTimesteps = "linspace"): LcmStep[] {
  const timesteps = lcmTimesteps(config, steps, rule);
  return timesteps.map((timestep, i) => {
    const { a, sigma } = signalAndNoise(config, timestep);
    const { cSkip, cOut } = lcmScalings(config, timestep);
    const original = predictedOriginal(config.predictionType, a, sigma);
    const following = timesteps[i + 1];
    return {
      timestep,
      a,
      sigma,
      cSkip,
      cOut,
      fromSample: cSkip + cOut * original.sample,
      fromOutput: cOut * original.output,
      next: following === undefined ? undefined : { timestep: following, ...signalAndNoise(config, following) },
    };
  });
}
