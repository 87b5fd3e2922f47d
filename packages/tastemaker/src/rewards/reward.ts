import type { Picture } from "@tastemaker/diffusion";
import { type HostData, UsageError } from "@tastemaker/tensor";
import type { ClipNetwork } from "./clip-network.ts";
import type { RewardTerm } from "../train/rocm-step.ts";

/** Something that scores finished pictures; a reward is one, but a metric need not be differentiable. */
export interface Metric {
  /** As named in a configuration, e.g. `clip-score`. */
  readonly name: string;
  /** What one unit means, e.g. `cosine`. */
  readonly unit: string;
  /** Default true. */
  readonly higherIsBetter?: boolean;
  /** How a picture becomes the model's input, in words; recorded beside every score. */
  readonly preprocessing?: string;
  /** Absolute paths of every file the score depends on, to tell versions apart. */
  readonly files?: readonly string[];
  /** Number i belongs to picture i and prompt i, and does not depend on the others. */
  score(pictures: readonly Picture[], prompts: readonly string[]): Promise<number[]>;
  dispose(): Promise<void>;
}

/** A score as a traced function of the picture, which can be differentiated. */
export interface DifferentiableScore {
  /** The function for `batchSize` pictures at a time. */
  term(weight: number, batchSize: number): RewardTerm;
  /** What the term needs besides the pictures, one row per prompt. Computed once per distinct prompt. */
  inputsFor(prompts: readonly string[]): Promise<Readonly<Record<string, HostData>>>;
}

/** Something that says how good a picture is: numbers as its reference implementation gives them and, where it can, a gradient. */
export interface Reward extends Metric {
  /** Where scores usually lie. */
  readonly typicalRange: readonly [low: number, high: number];
  /** Paper or repository. */
  readonly source: string;
  /** Licence of the published weights. */
  readonly licence?: string;
  /** Whether the score looks at the prompt. */
  readonly needsText: boolean;
  /** One sentence. */
  readonly describe: string;
  /** What tells versions apart where there is no file to hash, e.g. an endpoint's address and what it says of itself; a run is not continued with another one. */
  readonly version?: string;
  readonly files: readonly string[];
  /** The CLIP whose picture tower it looks through, where it is one. */
  readonly clip?: ClipNetwork;
  /** Undefined for a reward that gives numbers only. */
  readonly gradient?: DifferentiableScore;
}

/**
 * The gradient of a reward, for an objective that goes through it.
 * @throws UsageError `reward-not-differentiable`
 */
export function requireGradient({ name, gradient }: Pick<Reward, "name" | "gradient">, objective: string): DifferentiableScore {
  if (gradient !== undefined) return gradient;
  throw new UsageError(
    "reward-not-differentiable",
    `reward ${name}: expected one with a gradient for the objective "${objective}", got one that gives numbers only`,
    "use it as a metric of the evaluation; to train on it takes a policy-gradient or preference objective (rlcm, ddpo, dpok, d3po, rebel)",
  );
}
