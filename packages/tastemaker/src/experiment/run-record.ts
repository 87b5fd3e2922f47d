import type { Environment } from "../storage/environment.ts";

/** Rows of the paper's Table 1, in its order. */
export const methods = ["rocm-none", "rocm-js", "rocm-kl", "rocm-hellinger", "rocm-fisher", "rlcm", "ddpo", "d3po", "dpok"] as const;
export type Method = (typeof methods)[number];

/** Methods with a divergence, which have a beta. */
export const divergenceMethods = ["rocm-js", "rocm-kl", "rocm-hellinger", "rocm-fisher"] as const satisfies readonly Method[];
export type DivergenceMethod = (typeof divergenceMethods)[number];

export function isDivergenceMethod(method: Method): method is DivergenceMethod {
  return (divergenceMethods as readonly string[]).includes(method);
}

/** Rewards that Table 1 trains on, in the paper's order. */
export const trainedRewards = ["pick-score", "hpsv2", "clip-score", "aesthetic"] as const;
export type TrainedReward = (typeof trainedRewards)[number];

/** The paper's six metrics; each table leaves the trained one out. */
export const paperMetrics = ["pick-score", "aesthetic", "hpsv2", "clip-score", "blip-score", "image-reward"] as const;

/** What stands for people in the emoji world and is never trained on: preference, visual appeal, agreement with the prompt. */
export const goldMetrics = ["gold", "gold-appeal", "judge"] as const;

/** What a run is for. Runs that serve two parts (a sweep's best beta is a row of Table 1) are made once. */
export const parts = ["search", "sweep", "main", "auto", "animals"] as const;
export type Part = (typeof parts)[number];

/** One training of an experiment: everything its numbers are a function of, besides version and machine. */
export interface RunSpec {
  /** Path-like and unique, such as `sweep/pick-score/rocm-kl/beta-3/seed-1`; also its folder. */
  readonly id: string;
  readonly part: Part;
  readonly reward: TrainedReward;
  readonly method: Method;
  /** Of ROCM with a divergence; null for the others. */
  readonly beta: number | "auto" | null;
  readonly learningRate: number;
  readonly seed: number;
  readonly iterations: number;
  /** Whether the 500 prompts are scored at the end; the search needs the curve only. */
  readonly isScored: boolean;
  /** Settings beyond the above, as `--set` takes them (sorted by name). */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** A mean over the curve's prompts, and the gain over the base model on equal noise, with its paired standard error. */
export interface CurveScore {
  readonly mean: number;
  readonly standardError: number;
  readonly gain: number;
  readonly gainStandardError: number;
}

/** An evaluation during training. The first is the untrained model: iteration 0, all gains 0. */
export interface CurvePoint {
  readonly iteration: number;
  /** iteration × `secondsPerIteration`. */
  readonly trainSeconds: number;
  /** Pictures whose reward training has asked for so far. */
  readonly rewardEvaluations: number;
  /** By metric: the trained reward, the paper's other metrics, `gold`, `gold-appeal`, `judge`, `diversity`. */
  readonly scores: Readonly<Record<string, CurveScore>>;
}

/** Scores of one model's pictures for the final prompts: by metric, one number per prompt. */
export type PromptScores = Readonly<Record<string, readonly number[]>>;

/** Content of `runs/<id>.json`. */
export interface RunRecord {
  readonly format: "tastemaker-experiment-run/1";
  readonly spec: RunSpec;
  /** The command that repeats the training. */
  readonly command: string;
  readonly environment: Environment;
  /** One thread of an idle machine, measured once per method before all runs (`calibration.json`), so that results do not depend on what else the machine does. */
  readonly secondsPerIteration: number;
  readonly rewardEvaluationsPerIteration: number;
  readonly curve: readonly CurvePoint[];
  /** Same prompts and noise as the base model's in `base.json`; null where the spec does not ask for them. */
  readonly final: PromptScores | null;
  /** Iteration at which the watch for over-optimisation first spoke, without looking at what stands for people; null when it did not. */
  readonly watchFiredAt: number | null;
  /** Iteration of the checkpoint that the run's own evaluations call the best (held-out rule), without looking at what stands for people. */
  readonly bestIteration: number | null;
  /** The summed divergence and beta of the last iteration. */
  readonly lastDivergence: number;
  readonly lastBeta: number;
}

/** Content of `base.json`: the two untrained models on the final prompts. */
export interface BaseRecord {
  readonly format: "tastemaker-experiment-base/1";
  readonly environment: Environment;
  readonly prompts: readonly string[];
  /** `emoji` (the consistency model) and `emoji-teacher` (the diffusion model). */
  readonly scores: Readonly<Record<"emoji" | "emoji-teacher", PromptScores>>;
}

/** Which base model a method tunes. */
export function baseOf(method: Method): "emoji" | "emoji-teacher" {
  return method === "ddpo" || method === "d3po" || method === "dpok" ? "emoji-teacher" : "emoji";
}
