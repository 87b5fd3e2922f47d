import { attention } from "../../../ops/attention.ts";
import { add, gelu, mul, sigmoid } from "../../../ops/elementwise.ts";
import { standardizeOperator } from "../../../ops/normalization.ts";
import { sliceAxis } from "../../../ops/shaping.ts";
import { apply, type Tensor } from "../../../tensor.ts";
import type { NodeContext, NodeMapping } from "../node-context.ts";
import { geluTanh } from "./elementwise.ts";
import { product } from "./linear.ts";

/** Attention of [B,L,E] tensors, with an optional bias of queries, keys and values one after the other. */
function multiHeadAttention(node: NodeContext): Tensor {
  let [q, k, v] = [node.ranked(0, 3), node.ranked(1, 3), node.ranked(2, 3)];
  for (let i = 4; i < node.count; i++) if (node.optional(i)) throw node.unsupported(`operand ${i} (a mask or a cache)`);
  if (node.hasOutput(1) || node.hasOutput(2)) throw node.unsupported("keys and values as outputs");
  const [heads, width] = [node.int("num_heads", 0), q.shape[2]!];
  if (!(heads >= 1) || width % heads !== 0) throw node.error(`expected a width that divides by the heads, got [${q.shape}] and ${heads}`);
  if (node.optional(3)) {
    const bias = node.ranked(3, 1);
    if (bias.shape[0] !== 3 * width) throw node.error(`expected ${3 * width} biases, got [${bias.shape}]`);
    [q, k, v] = [q, k, v].map((x, i) => add(x, sliceAxis(bias, 0, i * width, (i + 1) * width))) as [Tensor, Tensor, Tensor];
  }
  const scale = node.float("scale", 0);
  return attention(q, k, v, { heads, causal: node.flag("unidirectional", false), ...(scale === 0 ? {} : { scale }) });
}

/** Layer normalisation of a sum. */
function skipLayerNormalization(node: NodeContext): readonly (Tensor | undefined)[] {
  const biased = node.optional(4) ? add(node.real(0), node.real(4)) : node.real(0);
  const total = add(biased, node.real(1));
  const normalized = apply(standardizeOperator, [total], { epsilon: node.float("epsilon", 1e-12) })[0]!;
  const scaled = mul(normalized, node.real(2));
  return [node.optional(3) ? add(scaled, node.real(3)) : scaled, undefined, undefined, total];
}

const biased = (node: NodeContext): Tensor => (node.optional(1) ? add(node.real(0), node.real(1)) : node.real(0));

/** Operators of onnxruntime's own domain, which its optimiser writes. */
export const microsoftNodes: Readonly<Record<string, NodeMapping>> = {
  Gelu: (node) => gelu(node.real()),
  BiasGelu: (node) => gelu(biased(node)),
  FastGelu: (node) => geluTanh(biased(node)),
  QuickGelu: (node) => mul(node.real(), sigmoid(mul(node.float("alpha", 1.702), node.real()))),
  FusedMatMul: (node) => {
    if (node.flag("transBatchA", false) || node.flag("transBatchB", false)) throw node.unsupported("transposed batches");
    return product(node, { transposeA: node.flag("transA", false), transposeB: node.flag("transB", false), alpha: node.float("alpha", 1) });
  },
  MultiHeadAttention: multiHeadAttention,
  SkipLayerNormalization: skipLayerNormalization,
};
