import type { HostData } from "@tastemaker/tensor";
import type { RewardTerm } from "../train/rocm-step.ts";

/** Something that says how good a picture is, differentiably. */
export interface Reward {
  /** As named in a configuration, e.g. `clip-score`. */
  readonly name: string;
  /** What one unit means, e.g. `cosine`. */
  readonly unit: string;
  /** Where scores usually lie. */
  readonly typicalRange: readonly [low: number, high: number];
  /** Paper or repository. */
  readonly source: string;
  /** Whether the score looks at the prompt. */
  readonly needsText: boolean;
  /** One sentence. */
  readonly describe: string;
  /** Absolute path of the weights. */
  readonly path: string;
  /** The traced function of the picture, for `batchSize` pictures at a time. */
  term(weight: number, batchSize: number): RewardTerm;
  /** What the term needs besides the pictures, one row per prompt. Computed once per distinct prompt. */
  inputsFor(prompts: readonly string[]): Promise<Readonly<Record<string, HostData>>>;
  dispose(): Promise<void>;
}

/** Something that scores finished pictures; a reward is one, but a metric need not be differentiable. */
export interface Metric {
  readonly name: string;
  readonly unit: string;
  /** Default true. */
  readonly higherIsBetter?: boolean;
  /** @param images Planar RGB in [0, 1], `[3, S, S]` each. @returns One number per picture. */
  score(images: readonly Float32Array[], prompts: readonly string[]): Promise<number[]>;
  dispose(): Promise<void>;
}
