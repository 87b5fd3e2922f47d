import { sameShape } from "../shape.ts";
import type { ValueType } from "./value-types.ts";
import type { OnnxNode } from "./writer.ts";

/** What a rewrite may look at. */
interface Graph {
  readonly types: ReadonlyMap<string, ValueType>;
  /** The node that makes a value which exactly one input reads and which is no output of the graph. */
  onlyMaker(name: string): OnnxNode | undefined;
  /** The node that makes a value. */
  maker(name: string): OnnxNode | undefined;
}

const rankOf = (name: string, { types }: Graph): number => types.get(name)!.shape.length;

/** conv + b as [1,O,1,1] or [O,1,1], from a vector b. */
function convolutionWithBias(add: OnnxNode, x: string, bias: string, graph: Graph): { readonly nodes: OnnxNode[]; readonly dropped: OnnxNode[] } | undefined {
  const [conv, view] = [graph.onlyMaker(x), graph.maker(bias)];
  if (conv?.opType !== "Conv" || conv.inputs.length !== 2 || view?.opType !== "Reshape") return undefined;
  const [vector, shape] = [view.inputs[0]!, graph.types.get(bias)!.shape];
  const outputs = graph.types.get(x)!.shape[1]!;
  if (rankOf(vector, graph) !== 1 || !sameShape(shape.slice(-3), [outputs, 1, 1]) || shape.slice(0, -3).some((n) => n !== 1)) return undefined;
  return { nodes: [{ ...conv, inputs: [...conv.inputs, vector], outputs: add.outputs }], dropped: [conv] };
}

/** a·b + bias, or the same with a reshape between, for matrices a and b and a vector. */
function productWithBias(add: OnnxNode, x: string, bias: string, graph: Graph): { readonly nodes: OnnxNode[]; readonly dropped: OnnxNode[] } | undefined {
  const last = graph.onlyMaker(x);
  const product = last?.opType === "Reshape" ? graph.onlyMaker(last.inputs[0]!) : last;
  if (!last || !product || (product.opType !== "MatMul" && product.opType !== "FusedMatMul")) return undefined;
  const [columns, width] = [graph.types.get(product.outputs[0]!)!.shape.at(-1)!, graph.types.get(x)!.shape.at(-1)!];
  const areMatrices = product.inputs.every((name) => rankOf(name, graph) === 2);
  if (!areMatrices || columns !== width || !sameShape(graph.types.get(bias)!.shape, [columns])) return undefined;
  const { transA = 0, transB = 0, alpha = { float: 1 } } = product.attributes;
  const gemm: OnnxNode = { opType: "Gemm", domain: "", inputs: [...product.inputs, bias], outputs: product.outputs, attributes: { transA, transB, alpha } };
  if (last === product) return { nodes: [{ ...gemm, outputs: add.outputs }], dropped: [product] };
  return { nodes: [gemm, { ...last, outputs: add.outputs }], dropped: [product, last] };
}

/**
 * Adds biases inside convolutions and matrix products instead of after them: one pass over the result less. onnxruntime does the same for constant
 * weights only. `nodes` in an order in which they can run; so is the result.
 */
export function fuseBiases(nodes: readonly OnnxNode[], types: ReadonlyMap<string, ValueType>, outputs: readonly string[]): OnnxNode[] {
  const makers = new Map(nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)));
  const uses = new Map<string, number>(outputs.map((name) => [name, Infinity]));
  for (const { inputs } of nodes) for (const name of inputs) uses.set(name, (uses.get(name) ?? 0) + 1);
  const graph: Graph = { types, maker: (name) => makers.get(name), onlyMaker: (name) => (uses.get(name) === 1 ? makers.get(name) : undefined) };
  const replaced = new Map<OnnxNode, readonly OnnxNode[]>();
  for (const node of nodes) {
    if (node.opType !== "Add") continue;
    const [a, b] = node.inputs as [string, string];
    const pairs = [[a, b], [b, a]] as const;
    const fused = pairs.map(([x, bias]) => convolutionWithBias(node, x, bias, graph) ?? productWithBias(node, x, bias, graph)).find((result) => result !== undefined);
    if (!fused) continue;
    for (const dropped of fused.dropped) replaced.set(dropped, []);
    replaced.set(node, fused.nodes);
  }
  const result = nodes.flatMap((node) => replaced.get(node) ?? [node]);
  // Views of biases that are now read directly.
  const read = new Set([...result.flatMap(({ inputs }) => inputs), ...outputs]);
  return result.filter(({ opType, outputs: made }) => opType !== "Reshape" || made.some((name) => read.has(name)));
}
