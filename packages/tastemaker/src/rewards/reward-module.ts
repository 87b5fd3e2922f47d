import type { Picture } from "@tastemaker/diffusion";
import type * as tensorOps from "@tastemaker/tensor";
import type { Tensor } from "@tastemaker/tensor";

/** What `trace` works with besides the picture. */
export interface TraceContext {
  /** Every operator of Tastemaker (docs/operators.md), so that a module needs no import: `ops.mean(image, [1, 2, 3])`. */
  readonly ops: typeof tensorOps;
  /** The numbers of `prompt.values`, by name, `[B, ...shape]`. */
  readonly inputs: Readonly<Record<string, Tensor>>;
}

/** How a traced score reads the prompt: as numbers, made outside the trace. */
export interface PromptNumbers {
  /** Shape of each input for one prompt, e.g. `{ colour: [3] }`; `[]` is a single number. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** The numbers of one prompt, row-major, by the same names. Called once per picture; must depend on the prompt alone. */
  values(prompt: string): Readonly<Record<string, number | readonly number[]>>;
}

/**
 * A reward of one's own: what a TypeScript or JavaScript module exports by default.
 *
 * With `trace` it can be trained on by gradient. With `score` it gives numbers. With both, `score` gives the numbers that are reported and `trace` the gradient.
 *
 * ```ts
 * import type { RewardModule } from "tastemaker"; // a type only: nothing is loaded
 * export default {
 *   unit: "mean brightness",
 *   typicalRange: [0, 1],
 *   trace: (image, { ops }) => ops.mean(image, [1, 2, 3]),
 * } satisfies RewardModule;
 * ```
 */
export interface RewardModule {
  /**
   * The score as a pure function of the picture, written with `ops`. It is called once, to write the program down, not once per picture: it sees tensors, never numbers.
   * @param image `[B, 3, H, W]`, RGB in [0, 1]. @returns `[B]`, higher is better.
   */
  readonly trace?: (image: Tensor, context: TraceContext) => Tensor;
  /** Prompts as numbers for `trace`. */
  readonly prompt?: PromptNumbers;
  /** One finite number per picture, higher is better; number i belongs to picture i and prompt i and must not depend on the others. */
  readonly score?: (pictures: readonly Picture[], prompts: readonly string[]) => readonly number[] | Promise<readonly number[]>;
  /** What one unit means. Default: `points`. */
  readonly unit?: string;
  /** Where scores usually lie. Default: [0, 1]. */
  readonly typicalRange?: readonly [low: number, high: number];
  /** Where the idea is from. */
  readonly source?: string;
  /** One sentence. */
  readonly describe?: string;
  /** Further files that the score depends on, relative to the module. Like the module itself they are hashed into `run.json`, and a run is not continued when they have changed. */
  readonly files?: readonly string[];
}
