import { UsageError, unknownNameError } from "@tastemaker/tensor";

/** What the network's output is: the noise ε, v = aε − σx₀, or x₀ itself. */
export type PredictionType = "epsilon" | "v_prediction" | "sample";

/** The numbers of a diffusers scheduler configuration that this package computes with. */
export interface SchedulerConfig {
  /** `_class_name`, e.g. `LCMScheduler`. */
  readonly className: string;
  readonly trainTimesteps: number;
  readonly predictionType: PredictionType;
  /** ᾱ_t for t = 0 … trainTimesteps − 1, float64. */
  readonly alphasCumprod: Float64Array;
  /** DDIM: ᾱ after the last step is 1 (true) or ᾱ_0 (false, Stable Diffusion). */
  readonly setAlphaToOne: boolean;
  /** DDIM: added to every timestep. */
  readonly stepsOffset: number;
  /** LCM: length of the grid that the distillation used. */
  readonly originalInferenceSteps: number;
  /** LCM: factor of t in c_skip and c_out. */
  readonly timestepScaling: number;
}

const predictionTypes: readonly PredictionType[] = ["epsilon", "v_prediction", "sample"];
const betaSchedules = ["linear", "scaled_linear", "squaredcos_cap_v2"] as const;

/** NumPy's linspace: `count` values from `start` to `end`, both included. */
function linspace(start: number, end: number, count: number): Float64Array {
  const step = (end - start) / (count - 1);
  return Float64Array.from({ length: count }, (_, i) => (i === count - 1 && count > 1 ? end : start + i * step));
}

function betas(schedule: (typeof betaSchedules)[number], start: number, end: number, count: number): Float64Array {
  if (schedule === "linear") return linspace(start, end, count);
  if (schedule === "scaled_linear") return linspace(Math.sqrt(start), Math.sqrt(end), count).map((root) => root * root);
  const alphaBar = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
  return Float64Array.from({ length: count }, (_, i) => Math.min(1 - alphaBar((i + 1) / count) / alphaBar(i / count), 0.999));
}

/**
 * Reads `scheduler_config.json`. Absent values take the defaults of diffusers' LCMScheduler or, for any other class, DDIMScheduler (diffusion models are always
 * sampled by DDIM here, as in the baselines' code); options that would change the formulas are refused.
 * Throws `UsageError` naming the option.
 */
export function parseSchedulerConfig(config: Readonly<Record<string, unknown>>, where: string = "scheduler_config.json"): SchedulerConfig {
  const className = typeof config["_class_name"] === "string" ? config["_class_name"] : "DDIMScheduler";
  const isLcm = className === "LCMScheduler";
  const fail = (key: string, expected: string): never => {
    throw new UsageError("scheduler-config", `scheduler ${key}: expected ${expected}, got ${JSON.stringify(config[key])?.slice(0, 80)} (at ${where})`, "use a Stable Diffusion 1.x or LCM scheduler configuration");
  };
  const number = (key: string, fallback: number, isValid: (value: number) => boolean, expected: string): number => {
    const value = config[key] ?? fallback;
    return typeof value === "number" && Number.isFinite(value) && isValid(value) ? value : fail(key, expected);
  };
  const oneOf = <T extends string>(key: string, fallback: T, known: readonly T[]): T => {
    const value = config[key] ?? fallback;
    if (typeof value !== "string") return fail(key, `one of ${known.join(", ")}`);
    const found = known.find((name) => name === value);
    if (found === undefined) throw unknownNameError(`scheduler ${key} (at ${where})`, value, known);
    return found;
  };
  const mustBeFalse = (key: string): void => {
    if ((config[key] ?? false) !== false) fail(key, "false");
  };
  const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 1 && value <= 1_000_000;
  for (const key of ["rescale_betas_zero_snr", "thresholding", "clip_sample"]) mustBeFalse(key);
  if (className === "DDIMScheduler") oneOf("timestep_spacing", "leading", ["leading"]);

  const trainTimesteps = number("num_train_timesteps", 1000, isCount, "a whole number from 1 to 1000000");
  const trained: unknown = config["trained_betas"] ?? undefined;
  let beta: Float64Array;
  if (trained === undefined) {
    const inUnit = (value: number): boolean => value > 0 && value < 1;
    const start = number("beta_start", isLcm ? 0.00085 : 0.0001, inUnit, "a number between 0 and 1");
    const end = number("beta_end", isLcm ? 0.012 : 0.02, inUnit, "a number between 0 and 1");
    beta = betas(oneOf("beta_schedule", isLcm ? "scaled_linear" : "linear", betaSchedules), start, end, trainTimesteps);
  } else {
    const isBeta = (value: unknown): boolean => typeof value === "number" && value > 0 && value < 1;
    if (!Array.isArray(trained) || trained.length !== trainTimesteps || !trained.every(isBeta)) fail("trained_betas", `${trainTimesteps} numbers between 0 and 1`);
    beta = Float64Array.from(trained as number[]);
  }
  let product = 1;
  const setAlphaToOne: unknown = config["set_alpha_to_one"] ?? className !== "PNDMScheduler";
  return {
    className,
    trainTimesteps,
    predictionType: oneOf("prediction_type", "epsilon", predictionTypes),
    alphasCumprod: beta.map((value) => (product *= 1 - value)),
    setAlphaToOne: typeof setAlphaToOne === "boolean" ? setAlphaToOne : fail("set_alpha_to_one", "true or false"),
    stepsOffset: number("steps_offset", 0, (value) => Number.isSafeInteger(value) && value >= 0 && value < trainTimesteps, "a whole number of at least 0"),
    originalInferenceSteps: number("original_inference_steps", 50, (value) => isCount(value) && value <= trainTimesteps, `a whole number from 1 to ${trainTimesteps}`),
    timestepScaling: number("timestep_scaling", 10, (value) => value > 0, "a positive number"),
  };
}

/**
 * a_t = √ᾱ_t and σ_t = √(1 − ᾱ_t): the noised sample is a_t·x₀ + σ_t·z.
 * Throws `UsageError` when `timestep` is not a whole number in [0, trainTimesteps).
 */
export function signalAndNoise(config: SchedulerConfig, timestep: number): { readonly a: number; readonly sigma: number } {
  const alphaBar = config.alphasCumprod[timestep];
  if (alphaBar === undefined) {
    throw new UsageError("timestep", `timestep: expected a whole number from 0 to ${config.trainTimesteps - 1}, got ${timestep}`);
  }
  return { a: Math.sqrt(alphaBar), sigma: Math.sqrt(1 - alphaBar) };
}

/** x₀ and ε as linear functions of the noisy sample x and the network output o: value = `sample`·x + `output`·o. */
export interface LinearPrediction {
  readonly sample: number;
  readonly output: number;
}

/** The x₀ that an output of the given type means at signal a and noise σ. */
export function predictedOriginal(type: PredictionType, a: number, sigma: number): LinearPrediction {
  if (type === "epsilon") return { sample: 1 / a, output: -sigma / a };
  return type === "v_prediction" ? { sample: a, output: -sigma } : { sample: 0, output: 1 };
}

/** The ε that an output of the given type means at signal a and noise σ. */
export function predictedNoise(type: PredictionType, a: number, sigma: number): LinearPrediction {
  if (type === "epsilon") return { sample: 0, output: 1 };
  return type === "v_prediction" ? { sample: sigma, output: a } : { sample: 1 / sigma, output: -a / sigma };
}

/** Checks a number of sampling steps. */
export function checkStepCount(steps: number, maximum: number): void {
  if (!Number.isSafeInteger(steps) || steps < 1 || steps > maximum) {
    throw new UsageError("step-count", `steps: expected a whole number from 1 to ${maximum}, got ${steps}`);
  }
}
