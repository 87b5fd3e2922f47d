import { add, cast, mul, where } from "../../../ops/elementwise.ts";
import { constant } from "../../../ops/leaves.ts";
import { matmul } from "../../../ops/matmul.ts";
import { softmax, sum } from "../../../ops/reductions.ts";
import { reshape, transpose } from "../../../ops/shaping.ts";
import { sizeOf } from "../../../shape.ts";
import type { Tensor } from "../../../tensor.ts";
import type { NodeContext, NodeMapping } from "../node-context.ts";

/** A product of matrices in which vectors are rows on the left and columns on the right; a vector has nothing to transpose. */
export function product(node: NodeContext, options: { readonly transposeA?: boolean; readonly transposeB?: boolean; readonly alpha?: number } = {}): Tensor {
  const { transposeA = false, transposeB = false, alpha = 1 } = options;
  const [a, b] = [node.real(0), node.real(1)];
  if (a.shape.length === 0 || b.shape.length === 0) throw node.error(`expected vectors or matrices, got [${a.shape}] and [${b.shape}]`);
  const [isRow, isColumn] = [a.shape.length === 1, b.shape.length === 1];
  const left = isRow ? reshape(a, [1, ...a.shape]) : a;
  const right = isColumn ? reshape(b, [...b.shape, 1]) : b;
  const y = matmul(left, right, { transposeA: transposeA && !isRow, transposeB: transposeB && !isColumn, alpha });
  const dropped = [...(isRow ? [y.shape.length - 2] : []), ...(isColumn ? [y.shape.length - 1] : [])];
  return reshape(y, y.shape.filter((_, i) => !dropped.includes(i)));
}

/** alpha·op(A)·op(B) + beta·C. */
function gemm(node: NodeContext): Tensor {
  const y = matmul(node.ranked(0, 2), node.ranked(1, 2), {
    transposeA: node.flag("transA", false),
    transposeB: node.flag("transB", false),
    alpha: node.float("alpha", 1),
  });
  const beta = node.float("beta", 1);
  if (node.optional(2) === undefined || beta === 0) return y;
  const c = node.real(2);
  return add(y, beta === 1 ? c : mul(c, beta));
}

interface Labelled {
  readonly x: Tensor;
  /** One letter per axis. */
  readonly labels: readonly string[];
}

/** Sums away the labels that are not kept, and orders the rest. */
function ordered({ x, labels }: Labelled, wanted: readonly string[]): Tensor {
  const dropped = labels.flatMap((label, i) => (wanted.includes(label) ? [] : [i]));
  const kept = labels.filter((label) => wanted.includes(label));
  return transpose(dropped.length > 0 ? sum(x, dropped) : x, wanted.map((label) => kept.indexOf(label)));
}

/** One product of two labelled tensors: labels in both and in `needed` are batches, in both and not needed are summed over. */
function contract(a: Labelled, b: Labelled, needed: ReadonlySet<string>): Labelled {
  const shared = a.labels.filter((label) => b.labels.includes(label));
  const batch = shared.filter((label) => needed.has(label));
  const inner = shared.filter((label) => !needed.has(label));
  const rows = a.labels.filter((label) => !b.labels.includes(label) && needed.has(label));
  const columns = b.labels.filter((label) => !a.labels.includes(label) && needed.has(label));
  const sizes = new Map([...a.labels.map((label, i) => [label, a.x.shape[i]!] as const), ...b.labels.map((label, i) => [label, b.x.shape[i]!] as const)]);
  const sizesOf = (labels: readonly string[]): number[] => labels.map((label) => sizes.get(label)!);
  const total = (labels: readonly string[]): number => sizeOf(sizesOf(labels));
  const left = reshape(ordered(a, [...batch, ...rows, ...inner]), [total(batch), total(rows), total(inner)]);
  const right = reshape(ordered(b, [...batch, ...inner, ...columns]), [total(batch), total(inner), total(columns)]);
  const labels = [...batch, ...rows, ...columns];
  return { x: reshape(matmul(left, right), sizesOf(labels)), labels };
}

function einsum(node: NodeContext): Tensor {
  const equation = node.text("equation", "").replaceAll(" ", "");
  const operands = node.all().map((x) => {
    if (x.dtype !== "float32") throw node.unsupported(`operands of type ${x.dtype}`);
    return x;
  });
  const [left, right, ...more] = equation.split("->");
  const terms = left!.split(",");
  const isWritten = terms.length === operands.length && more.length === 0 && [...terms, right ?? ""].every((term) => /^[A-Za-z]*(\.\.\.)?[A-Za-z]*$/.test(term));
  if (!isWritten) throw node.unsupported(`equation "${equation.slice(0, 100)}" of ${operands.length} operands`);
  let ellipsisRank = 0;
  const parsed = terms.map((term, i) => {
    const rank = operands[i]!.shape.length - term.replace("...", "").length;
    if (rank < 0 || (rank > 0 && !term.includes("..."))) throw node.error(`expected an operand of ${term.length} axes for "${term}", got [${operands[i]!.shape}]`);
    ellipsisRank = Math.max(ellipsisRank, rank);
    return { term, rank };
  });
  const dots = (rank: number): string[] => Array.from({ length: rank }, (_, i) => `.${ellipsisRank - rank + i}`);
  const labelsOf = (term: string, rank: number): string[] => {
    const [before, after] = term.split("...");
    return after === undefined ? [...before!] : [...before!, ...dots(rank), ...after];
  };
  const inputs: Labelled[] = parsed.map(({ term, rank }, i) => ({ x: operands[i]!, labels: labelsOf(term, rank) }));
  const counts = new Map<string, number>();
  for (const { labels } of inputs) for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const implicit = [...dots(ellipsisRank), ...[...counts].flatMap(([label, n]) => (n === 1 && !label.startsWith(".") ? [label] : [])).sort()];
  const output = right === undefined ? implicit : labelsOf(right, ellipsisRank);
  const sizes = new Map<string, number>();
  for (const { x, labels } of inputs) {
    if (new Set(labels).size !== labels.length) throw node.unsupported(`a diagonal in "${equation.slice(0, 100)}"`);
    labels.forEach((label, i) => {
      const [known, size] = [sizes.get(label), x.shape[i]!];
      if (known !== undefined && known !== size) throw node.unsupported(`label ${label} with sizes ${known} and ${size}`);
      sizes.set(label, size);
    });
  }
  if (new Set(output).size !== output.length || output.some((label) => !sizes.has(label))) throw node.error(`expected output labels of the operands, each once, got "${equation.slice(0, 100)}"`);
  const result = inputs.reduce((a, b, i) => contract(a, b, new Set([...output, ...inputs.slice(i + 1).flatMap(({ labels }) => labels)])));
  return ordered(result, output);
}

/** [B,L,heads·d] → [B,heads,L,d]. */
const splitHeads = (x: Tensor, heads: number): Tensor => transpose(reshape(x, [x.shape[0]!, x.shape[1]!, heads, x.shape[2]! / heads]), [0, 2, 1, 3]);

/** Scaled dot product attention of opset 23, without a cache. */
function attentionOf(node: NodeContext): Tensor {
  const [q, k, v] = [node.ranked(0, 3, 4), node.ranked(1, 3, 4), node.ranked(2, 3, 4)];
  if (node.optional(4) || node.optional(5) || node.hasOutput(1) || node.hasOutput(3)) throw node.unsupported("a cache or scores as output");
  if (node.float("softcap", 0) !== 0) throw node.unsupported("a soft cap");
  const isFlat = q.shape.length === 3;
  const heads = (x: Tensor, attribute: string): Tensor => {
    if (!isFlat) return x;
    const count = node.int(attribute, 0);
    if (x.shape.length !== 3 || !(count > 0) || x.shape[2]! % count !== 0) throw node.error(`expected [B,L,heads·d] for ${count} heads, got [${x.shape}]`);
    return splitHeads(x, count);
  };
  const [queries, keys, values] = [heads(q, "q_num_heads"), heads(k, "kv_num_heads"), heads(v, "kv_num_heads")];
  const [batch, count, length, width] = queries.shape as [number, number, number, number];
  if (keys.shape[1] !== count || values.shape[1] !== count) throw node.unsupported(`${keys.shape[1]} heads of keys for ${count} of queries`);
  let scores = matmul(queries, keys, { transposeB: true, alpha: node.float("scale", 1 / Math.sqrt(width)) });
  if (node.flag("is_causal", false)) {
    const [rows, columns] = scores.shape.slice(-2) as [number, number];
    node.affordable([rows, columns]);
    scores = where(constant(Float64Array.from({ length: rows * columns }, (_, i) => Number(i % columns <= Math.floor(i / columns))), [rows, columns], "bool"), scores, -Infinity);
  }
  const mask = node.optional(3);
  if (mask) scores = mask.dtype === "bool" ? where(mask, scores, -Infinity) : add(scores, cast(mask, "float32"));
  const y = matmul(softmax(scores), values);
  return isFlat ? reshape(transpose(y, [0, 2, 1, 3]), [batch, length, count * values.shape[3]!]) : y;
}

export const linearNodes: Readonly<Record<string, NodeMapping>> = {
  MatMul: (node) => product(node),
  Gemm: gemm,
  Einsum: einsum,
  Attention: attentionOf,
};
