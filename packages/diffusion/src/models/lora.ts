import { type Tensor, UsageError, unknownNameError } from "@tastemaker/tensor";

import { type LoraModule, type Scope, adapted } from "./scope.ts";

/** A low-rank adapter placed in a graph: one pair of matrices per linear layer. */
export interface LoraAdapter {
  /** By module path, e.g. `mid_block.attentions.0.transformer_blocks.0.attn1.to_q`: down `[rank, in]`, up `[out, rank]`. */
  readonly targets: ReadonlyMap<string, { readonly down: Tensor; readonly up: Tensor }>;
  /** `[B]`, as a tensor or known numbers: multiplies the update of each row of the batch; 1 for the policy, 0 for the reference. */
  readonly scale: Tensor | readonly number[];
  /** alpha / rank. */
  readonly factor: number;
}

/** A linear layer that can carry an adapter. */
export interface LoraTarget {
  /** Module path below the root of the network. */
  readonly module: string;
  /** Width of its input. */
  readonly in: number;
  /** Width of its output. */
  readonly out: number;
}

/** The linear layers of an attention that an adapter changes (specification §4, and what diffusers' training scripts choose). */
export const LORA_LAYERS: readonly string[] = ["to_q", "to_k", "to_v", "to_out.0"];

/**
 * The same scope with an adapter: `linear` computes y = W x + scale[b]·factor·up(down x) at its targets.
 *
 * @throws UsageError `lora-shape` when a pair does not fit together.
 */
export function withLora(scope: Scope, adapter: LoraAdapter): Scope {
  const modules = new Map<string, LoraModule>();
  for (const [module, { down, up }] of adapter.targets) {
    if (down.shape.length !== 2 || up.shape.length !== 2 || up.shape[1] !== down.shape[0]) {
      throw new UsageError(
        "lora-shape",
        `adapter: expected down [rank, in] and up [out, rank], got [${down.shape.join(", ")}] and [${up.shape.join(", ")}] (at ${module})`,
      );
    }
    modules.set(module, { down, up, scale: adapter.scale, factor: adapter.factor });
  }
  return adapted(scope, (module) => modules.get(module));
}

/** Checks an adapter's module names and shapes against the network's layers. @throws UsageError naming the first that does not fit. */
export function checkLora(
  shapes: ReadonlyMap<string, { readonly down: readonly number[]; readonly up: readonly number[] }>,
  layers: readonly LoraTarget[],
): void {
  const known = new Map(layers.map((layer) => [layer.module, layer]));
  for (const [module, { down, up }] of shapes) {
    const layer = known.get(module);
    if (layer === undefined) throw unknownNameError("adapter module", module, [...known.keys()]);
    if (down[1] !== layer.in || up[0] !== layer.out) {
      throw new UsageError(
        "lora-shape",
        `adapter: expected down [rank, ${layer.in}] and up [${layer.out}, rank], got [${down.join(", ")}] and [${up.join(", ")}] (at ${module})`,
        "the adapter was made for another model",
      );
    }
  }
}
