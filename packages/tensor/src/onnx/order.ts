import type { OnnxNode } from "./writer.ts";

/** Which nodes each node waits for, prepared once for all ways to list them. */
export interface Dependencies {
  /** Per node, the nodes that make its inputs (each once, ascending). */
  readonly operands: readonly (readonly number[])[];
  /** Per node, whether another node reads a value of it. */
  readonly isUsed: readonly boolean[];
}

/** Finds out who makes what each node reads. */
export function dependenciesOf(nodes: readonly OnnxNode[]): Dependencies {
  const makers = new Map<string, number>();
  for (const [i, { outputs }] of nodes.entries()) for (const name of outputs) makers.set(name, i);
  const isUsed = nodes.map(() => false);
  const operands = nodes.map(({ inputs }) => {
    const list: number[] = [];
    for (const name of inputs) {
      const maker = makers.get(name);
      if (maker === undefined || list.includes(maker)) continue;
      list.push(maker);
      isUsed[maker] = true;
    }
    return list.sort((a, b) => a - b);
  });
  return { operands, isUsed };
}

/**
 * The order in which onnxruntime runs a listed graph that no optimiser changes (level `disabled`, sequential execution): node numbers.
 *
 * A depth-first walk from the nodes that nobody uses, each after its operands; of several, the one listed last goes first.
 * Source: onnxruntime, core/graph/graph_viewer.cc (GraphViewer) and graph.cc (ReverseDFSFrom); a test compares it with profiles of real sessions.
 *
 * @param listing Node numbers in the order in which they are listed; default: as they are numbered.
 */
export function executionOrder({ operands, isUsed }: Dependencies, listing: readonly number[] = operands.map((_, i) => i)): number[] {
  const place = new Int32Array(operands.length);
  for (const [position, node] of listing.entries()) place[node] = position;
  const order: number[] = [];
  const isVisited = new Uint8Array(operands.length);
  // A negative entry ~i means: node i's operands are done.
  const stack = listing.filter((i) => !isUsed[i]);
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    if (top < 0) {
      order.push(~top);
      continue;
    }
    if (isVisited[top]) continue;
    isVisited[top] = 1;
    stack.push(~top);
    const list = operands[top]!;
    const first = stack.length;
    for (const operand of list) if (!isVisited[operand]) stack.push(operand);
    // Operands are few, so that insertion is the quickest way to sort them by place.
    for (let i = first + 1; i < stack.length; i++) {
      const moved = stack[i]!;
      let j = i;
      for (; j > first && place[stack[j - 1]!]! > place[moved]!; j--) stack[j] = stack[j - 1]!;
      stack[j] = moved;
    }
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
 * Lists of the same nodes, by number, that make onnxruntime run them in different orders; `nodes` in an order in which they can run.
 *
 * - `leaves-by-depth`: results that nothing else uses (weight gradients) as soon as they can be computed, instead of all at the end.
 * - `reversed`, `by-depth`: of a node's operands, the earliest written or the deepest first; what depends on few others (a recomputed
 *   forward pass) just in time.
 *
 * What only prepares a weight is listed first in all of them, so that it runs just before its use.
 */
export function candidateListings(nodes: readonly OnnxNode[], { operands, isUsed }: Dependencies): Map<Listing, readonly number[]> {
  const depths = depthsOf(operands);
  const prepares = findPreparations(nodes, operands);
  const all = nodes.map((_, i) => i);
  const first = all.filter((i) => isUsed[i] && prepares[i]);
  const inner = all.filter((i) => isUsed[i] && !prepares[i]);
  const leaves = all.filter((i) => !isUsed[i]);
  const deepestFirst = leaves.toSorted((a, b) => depths[b]! - depths[a]! || b - a);
  const byDepth = inner.toSorted((a, b) => depths[a]! - depths[b]! || a - b);
  return new Map<Listing, readonly number[]>([
    ["natural", [...first, ...inner, ...leaves]],
    ["leaves-by-depth", [...first, ...inner, ...deepestFirst]],
    ["reversed", [...first, ...inner.toReversed(), ...leaves.toReversed()]],
    ["reversed-leaves-by-depth", [...first, ...inner.toReversed(), ...deepestFirst]],
    ["by-depth", [...first, ...byDepth, ...leaves]],
    ["by-depth-leaves-by-depth", [...first, ...byDepth, ...deepestFirst]],
  ]);
}
