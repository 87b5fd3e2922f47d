import { collectParameters, type Parameter, type Scope, scopeOf } from "@tastemaker/diffusion";
import { type HostData, input, type InputSpec, program, type Tensor } from "@tastemaker/tensor";
import { oracleBackend } from "../platform/runtime.ts";
import type { ParameterSet } from "../train/adamw.ts";
import type { PictureInput } from "./pair-pictures.ts";

/** A reward model that can be trained on pairs. */
export interface FitModel {
  /** As in `--reward`. */
  readonly name: string;
  readonly picture: PictureInput;
  /** Which parameters are trained, by key. */
  isTrained(key: string): boolean;
  /** A stored parameter as a leaf (or a view of one); undefined for one that is new and starts at random. */
  stored(key: string, shape: readonly number[]): Tensor | undefined;
  /** What `score` needs of the prompts, with the number of prompts in the shapes. */
  textInputs(count: number): Readonly<Record<string, InputSpec>>;
  /** Values of `textInputs`, one row per prompt. */
  textsOf(prompts: readonly string[]): Readonly<Record<string, HostData>>;
  /**
   * Scores in logits: the difference of two pictures' scores is the log of the odds that the first is preferred.
   * @param pictures Rows of B pictures. @param texts Of their B prompts. @returns `[B]`
   */
  score(scope: Scope, pictures: Tensor, texts: Readonly<Record<string, Tensor>>): Tensor;
  /** The finished model as files, relative path → bytes. @param values Of every parameter. */
  files(values: ParameterSet, parameters: readonly Parameter[]): Promise<ReadonlyMap<string, string | Uint8Array>>;
  dispose?(): Promise<void>;
}

/** A model as it was opened. */
export interface OpenedFit extends FitModel {
  /** Where it begins. */
  readonly path: string;
  /** The weights that the result is a function of. */
  readonly weightFiles: readonly string[];
  /** Learning rate where none is given. */
  readonly usualRate: number;
  /** Passes over all pairs where no number of pictures is given. */
  readonly usualPasses: number;
}

/** The inputs of a program that scores `count` pictures. */
export function scoreInputs(model: FitModel, count: number): { readonly pictures: Tensor; readonly texts: Record<string, Tensor> } {
  const texts = Object.fromEntries(Object.entries(model.textInputs(count)).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]));
  return { pictures: input("pictures", [count, ...model.picture.shape]), texts };
}

/** Every parameter that a model's score reads. */
export function fitParameters(model: FitModel): Parameter[] {
  return collectParameters((scope) => {
    const { pictures, texts } = scoreInputs(model, 1);
    model.score(scope, pictures, texts);
  });
}

/** Trained parameters as inputs under their keys, the others frozen where they lie. */
export function fitScope(model: FitModel): Scope {
  return scopeOf((key, shape) => (model.isTrained(key) ? input(key, shape) : (model.stored(key, shape) ?? input(key, shape))));
}

/** The values of stored parameters, in float32. */
export async function readStored(model: FitModel, parameters: readonly Parameter[]): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const { key, shape } of parameters) {
    const stored = model.stored(key, shape);
    if (stored === undefined) continue;
    // One at a time: a view is computed in float64, and the towers are large.
    const executable = await oracleBackend().compile(program({ value: stored }));
    const { value } = await executable.run({});
    await executable.dispose();
    values.set(key, Float32Array.from(value!.data));
  }
  return values;
}
