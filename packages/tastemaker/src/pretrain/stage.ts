import type { HostData, Program } from "@tastemaker/tensor";
import type { Parameter } from "@tastemaker/diffusion";
import type { AdamWSettings, ParameterSet } from "../train/adamw.ts";

/** One kind of training step: a program of fixed shapes and what to feed it. */
export interface Phase {
  /** Share of the whole training after which the next phase begins, 0..1; the last is 1. */
  readonly until: number;
  /** Pictures per step. */
  readonly batch: number;
  /**
   * Inputs: every parameter under its key, and what `feeds` gives. Outputs: `loss`, other scalars to log, and `grad:<key>` per parameter.
   */
  readonly program: Program;
  /** The inputs of a step that begins after `seen` pictures: a pure function of it, so that a resumed run goes on exactly. */
  feeds(seen: number, step: number): Promise<Record<string, HostData>>;
}

/** Something to train from scratch: parameters, phases, and what to do with the result. */
export interface Stage {
  /** E.g. `vae`. */
  readonly name: string;
  readonly parameters: readonly Parameter[];
  /** Starting values for some parameters (a model to continue from); the rest is initialised from the seed. */
  readonly start?: ParameterSet;
  readonly phases: readonly Phase[];
  readonly optimizer: AdamWSettings;
  /** Peak learning rate; warmed up linearly, then lowered by a cosine. */
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** Decay of the parameters' moving average, which is what is saved. */
  readonly averageDecay: number;
  /** Decay of a second average fed to the program as `target:<key>`; undefined when the program has none. */
  readonly targetDecay?: number;
  /** Draws a sample sheet of the averaged parameters as PNG, and numbers worth logging. */
  sample?(average: ParameterSet): Promise<{ readonly png?: Uint8Array; readonly scores: Readonly<Record<string, number>> }>;
  /** Writes the finished model: relative path → bytes. */
  finish(average: ParameterSet): Promise<ReadonlyMap<string, string | Uint8Array>>;
}
