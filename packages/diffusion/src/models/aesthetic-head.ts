import { div, maximum, reshape, sqrt, square, sum, type Tensor, UsageError, weight } from "@tastemaker/tensor";

import type { Checkpoint } from "../files/weights.ts";
import { linear } from "./layers.ts";
import { type Scope, scopeOf } from "./scope.ts";

/** Linear layers from a picture's embedding to one number, nothing between them: LAION's aesthetic predictors and ImageReward's head. */
export interface AffineHead {
  /** Width of the embedding. */
  readonly width: number;
  /** `[B, width]` → `[B]` */
  apply(embedding: Tensor): Tensor;
}

/**
 * Opens a head: `<prefix>layers.<i>.{weight,bias}` in the order of i (the published ones have 0, 2, 4, 6, 7: dropout lay between), or a single `weight`, `bias`.
 *
 * @throws UsageError `head-layers` when the layers do not follow each other or do not end in one number
 */
export function openAffineHead(weights: Checkpoint, prefix: string = ""): AffineHead {
  const start = `${prefix}layers.`;
  const numbers = [...new Set(weights.keys().flatMap((key) => (key.startsWith(start) ? [Number(key.slice(start.length).split(".")[0])] : [])))].sort((a, b) => a - b);
  const names = numbers.length > 0 ? numbers.map((number) => `${start}${number}`) : [prefix.replace(/\.$/, "")];
  const keyOf = (name: string): string => (name === "" ? "weight" : `${name}.weight`);
  const shapes = names.map((name) => weights.shapeOf(keyOf(name)));
  const width = shapes[0]?.[1];
  const isChain = shapes.every((shape, i) => shape?.length === 2 && (i === 0 || shape[1] === shapes[i - 1]![0]));
  if (width === undefined || !isChain || shapes.at(-1)![0] !== 1) {
    const got = shapes.map((shape, i) => `${keyOf(names[i]!)} ${shape === undefined ? "missing" : `[${shape.join(", ")}]`}`).join(", ");
    throw new UsageError("head-layers", `head: expected linear layers that follow each other and end in one number, got ${got} (at ${weights.where})`, "the file is no aesthetic head");
  }
  return {
    width,
    apply: (embedding) => {
      const scope: Scope = scopeOf((key, shape) => weight(weights.take(key, shape)));
      let x = embedding;
      for (const [index, name] of names.entries()) x = linear(name === "" ? scope : scope.at(name), x, shapes[index]![0]!);
      return reshape(x, [x.shape[0]!]);
    },
  };
}

/** Rows `[B, E]` at length 1; a row of zeros stays zero, as in LAION's code. */
export function unitRows(rows: Tensor): Tensor {
  // Far below the square of any embedding's length, and a normal float32 number.
  return div(rows, sqrt(maximum(sum(square(rows), 1, true), 1e-30)));
}
