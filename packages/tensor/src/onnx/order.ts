import type { OnnxNode } from "./writer.ts";

/** Which node makes each value. */
function makersOf(nodes: readonly OnnxNode[]): Map<string, number> {
  return new Map(nodes.flatMap(({ outputs }, i) => outputs.map((name) => [name, i] as const)));
}

/** Per node, the nodes that make its inputs (each once). */
function operandsOf(nodes: readonly OnnxNode[]): number[][] {
  const makers = makersOf(nodes);
  return nodes.map(({ inputs }) => [...new Set(inputs.flatMap((name) => makers.get(name) ?? []))]);
}

function hasUser(operands: readonly (readonly number[])[]): boolean[] {
  const used = operands.map(() => false);
  for (const list of operands) for (const operand of list) used[operand] = true;
  return used;
}

/**
 * The order in which onnxruntime runs a listed graph that no optimiser changes (level `disabled`, sequential execution): positions in the list.
 *
 * A depth-first walk from the nodes that nobody uses, each after its operands; of several, the one listed last goes first.
 * Source: onnxruntime, core/graph/graph_viewer.cc (GraphViewer) and graph.cc (ReverseDFSFrom); a test compares it with profiles of real sessions.
 */
export function executionOrder(nodes: readonly OnnxNode[]): number[] {
  const operands = operandsOf(nodes);
  const used = hasUser(operands);
  const order: number[] = [];
  const visited = nodes.map(() => false);
  // A negative entry ~i means: node i's operands are done.
  const stack = nodes.flatMap((_, i) => (used[i] ? [] : [i]));
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    if (top < 0) {
      order.push(~top);
      continue;
    }
    if (visited[top]) continue;
    visited[top] = true;
    stack.push(~top);
    for (const operand of operands[top]!.toSorted((a, b) => a - b)) if (!visited[operand]) stack.push(operand);
  }
  return order;
}

/** Length of the longest path that ends in each node. Nodes must be listed after their operands. */
function depthsOf(operands: readonly (readonly number[])[]): number[] {
  const depths: number[] = [];
  for (const list of operands) depths.push(list.reduce((most, operand) => Math.max(most, depths[operand]! + 1), 0));
  return depths;
}

/** Operators that prepare a weight for its use. */
const PREPARING = new Set(["Cast", "Reshape", "Transpose", "Slice", "MatMul"]);

/** Nodes that only change a leaf's form: casts of stored weights, flipped kernels, views. */
function findPreparations(nodes: readonly OnnxNode[], operands: readonly (readonly number[])[]): boolean[] {
  const found: boolean[] = [];
  nodes.forEach(({ opType }, i) => found.push(PREPARING.has(opType) && operands[i]!.length <= 1 && operands[i]!.every((operand) => found[operand])));
  return found;
}

export type Listing = "natural" | "leaves-by-depth" | "reversed" | "reversed-leaves-by-depth" | "by-depth" | "by-depth-leaves-by-depth";

/**
 * Lists of the same nodes that make onnxruntime run them in different orders; `nodes` in an order in which they can run.
 *
 * - `leaves-by-depth`: results that nothing else uses (weight gradients) as soon as they can be computed, instead of all at the end.
 * - `reversed`, `by-depth`: of a node's operands, the earliest written or the deepest first; what depends on few others (a recomputed
 *   forward pass) just in time.
 *
 * What only prepares a weight is listed first in all of them, so that it runs just before its use.
 */
export function candidateListings(nodes: readonly OnnxNode[]): Map<Listing, readonly OnnxNode[]> {
  const operands = operandsOf(nodes);
  const depths = depthsOf(operands);
  const used = hasUser(operands);
  const prepares = findPreparations(nodes, operands);
  const all = nodes.map((_, i) => i);
  const first = all.filter((i) => used[i] && prepares[i]);
  const inner = all.filter((i) => used[i] && !prepares[i]);
  const leaves = all.filter((i) => !used[i]);
  const deepestFirst = leaves.toSorted((a, b) => depths[b]! - depths[a]! || b - a);
  const byDepth = inner.toSorted((a, b) => depths[a]! - depths[b]! || a - b);
  const list = (middle: readonly number[], last: readonly number[]): OnnxNode[] => [...first, ...middle, ...last].map((i) => nodes[i]!);
  return new Map<Listing, readonly OnnxNode[]>([
    ["natural", list(inner, leaves)],
    ["leaves-by-depth", list(inner, deepestFirst)],
    ["reversed", list(inner.toReversed(), leaves.toReversed())],
    ["reversed-leaves-by-depth", list(inner.toReversed(), deepestFirst)],
    ["by-depth", list(byDepth, leaves)],
    ["by-depth-leaves-by-depth", list(byDepth, deepestFirst)],
  ]);
}
