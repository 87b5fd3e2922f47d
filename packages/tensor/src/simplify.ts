import { numberText } from "./number-text.ts";
import { cast, mul } from "./ops/elementwise.ts";
import { constant, constantValue } from "./ops/leaves.ts";
import { reshape, transpose } from "./ops/shaping.ts";
import { segmentOperator } from "./ops/segment.ts";
import { nodesOf, type Program } from "./program.ts";
import { sameShape, sizeOf } from "./shape.ts";
import { moveReshapes } from "./simplify-reshapes.ts";
import { apply1, type Attribute, Node, type Tensor, type WeightSource } from "./tensor.ts";

/** Results up to this many elements are computed when the program is written. */
const FOLD_LIMIT = 1 << 16;

/** `isShared` says whether a tensor has other users, so that what replaces it would be computed beside it. */
type Rule = (node: Node, isShared: (tensor: Tensor) => boolean) => Tensor | undefined;

const broadcasting = new Set(["add", "sub", "mul", "div", "maximum", "minimum"]);

/** Local rewrites by operator name; each returns a tensor equal to the node's first output, or undefined. */
const rules: Readonly<Record<string, Rule>> = {
  add: ({ inputs: [a, b], outputs: [y] }) =>
    constantValue(a!) === 0 && sameShape(b!.shape, y!.shape) ? b : constantValue(b!) === 0 && sameShape(a!.shape, y!.shape) ? a : undefined,
  sub: ({ inputs: [a, b], outputs: [y] }) => (constantValue(b!) === 0 && sameShape(a!.shape, y!.shape) ? a : undefined),
  mul: ({ inputs: [a, b], outputs: [y] }, isShared) => {
    const [value, other] = constantValue(a!) === undefined ? [constantValue(b!), a!] : [constantValue(a!), b!];
    if (value === undefined || !sameShape(other.shape, y!.shape)) return undefined;
    if (value === 1) return other;
    const inner = other.node;
    if (inner.operator.name === "mul") {
      const factor = inner.inputs.map(constantValue).find((v) => v !== undefined);
      const rest = inner.inputs.find((operand) => constantValue(operand) === undefined);
      if (factor !== undefined && rest && sameShape(rest.shape, y!.shape)) return mul(rest, factor * value);
    }
    if (inner.operator.name === "matmul" && !isShared(other)) {
      return apply1(inner.operator, inner.inputs, { ...inner.attributes, alpha: (inner.attributes["alpha"] as number) * value });
    }
    return undefined;
  },
  div: ({ inputs: [a, b], outputs: [y] }) => (constantValue(b!) === 1 && sameShape(a!.shape, y!.shape) ? a : undefined),
  neg: ({ inputs: [x] }) => (x!.node.operator.name === "neg" ? x!.node.inputs[0] : undefined),
  reshape: ({ inputs: [x], outputs: [y] }) => {
    if (sameShape(x!.shape, y!.shape)) return x;
    return x!.node.operator.name === "reshape" ? reshape(x!.node.inputs[0]!, y!.shape) : undefined;
  },
  transpose: ({ inputs: [x], attributes: { permutation } }) => {
    if (x!.node.operator.name !== "transpose") return undefined;
    const inner = x!.node.attributes["permutation"] as readonly number[];
    return transpose(x!.node.inputs[0]!, (permutation as readonly number[]).map((axis) => inner[axis]!));
  },
  stopGradient: ({ inputs: [x] }) => x,
  cast: ({ inputs: [x], attributes: { to } }) => (x!.dtype === to ? cast(x!, x!.dtype) : undefined),
};

/** Drops an explicit broadcast whose only effect the operator would have had by itself. */
function withoutExpand(node: Node): readonly Tensor[] | undefined {
  if (!broadcasting.has(node.operator.name)) return undefined;
  const { shape } = node.outputs[0]!;
  for (const [i, operand] of node.inputs.entries()) {
    const other = node.inputs[1 - i]!;
    if (operand.node.operator.name === "expand" && sameShape(other.shape, shape)) return node.inputs.with(i, operand.node.inputs[0]!);
  }
  return undefined;
}

/** Text that two attributes share only if the operator cannot tell them apart. */
function attributeKey(value: Attribute, idOf: (object: object) => number): string {
  if (typeof value === "number") return numberText(value);
  if (typeof value !== "object") return typeof value === "string" ? JSON.stringify(value) : String(value);
  if (value instanceof Float64Array) return value.length <= 1024 ? `[${Array.from(value, numberText).join()}]` : `#${idOf(value)}`;
  if ("key" in value) {
    const { file, offset, dtype, shape } = value as WeightSource;
    return `${JSON.stringify(file)}@${offset} ${dtype}[${shape}]`;
  }
  return "nodes" in value ? `#${idOf(value)}` : `[${(value as readonly number[]).map(numberText).join()}]`;
}

export interface SimplifyOptions {
  /** Leaves `stopGradient` in place, for programs that are still to be differentiated; default false. */
  readonly keepsStops?: boolean;
}

/**
 * The same results with less work: dead code gone, equal subexpressions shared, constants folded, small identities applied.
 * Segments are simplified inside but never merged with the outside, so that recomputation stays recomputation.
 */
export function simplifyTensors(tensors: readonly Tensor[], options: SimplifyOptions = {}): Tensor[] {
  const { keepsStops = false } = options;
  const ids = new Map<object, number>();
  const idOf = (object: object): number => {
    const known = ids.get(object) ?? ids.size;
    ids.set(object, known);
    return known;
  };
  const shared = new Map<string, Node>();
  const replaced = new Map<Tensor, Tensor>();

  const users = new Map<Tensor, number>();
  const addUsers = (tensor: Tensor, count: number): void => void users.set(tensor, (users.get(tensor) ?? 0) + count);
  const isShared = (tensor: Tensor): boolean => (users.get(tensor) ?? 0) > 1;

  const intern = (node: Node): Node => {
    let key = node.operator.name;
    for (const { node: maker, index } of node.inputs) key += ` ${idOf(maker)}.${index}`;
    for (const name in node.attributes) key += ` ${name}=${attributeKey(node.attributes[name], idOf)}`;
    const known = shared.get(key);
    if (known) return known;
    shared.set(key, node);
    return node;
  };

  /** What stands for the node's outputs. */
  const rewrite = (node: Node): readonly Tensor[] => {
    const isLeaf = node.inputs.length === 0;
    if (node.operator.name === "input") return node.outputs;
    if (!isLeaf && node.inputs.every((x) => x.node.operator.name === "constant") && node.outputs.every((y) => sizeOf(y.shape) <= FOLD_LIMIT)) {
      const largestOperand = Math.max(64, ...node.inputs.map((x) => sizeOf(x.shape)));
      // A folded broadcast would only be a larger constant.
      if (node.outputs.length === 1 && sizeOf(node.outputs[0]!.shape) <= largestOperand) {
        const operands = node.inputs.map((x) => ({ shape: x.shape, data: x.node.attributes["data"] as Float64Array }));
        const [data] = node.operator.reference(operands, node.attributes, node.outputs);
        return intern(constant(data!, node.outputs[0]!.shape, node.outputs[0]!.dtype).node).outputs;
      }
    }
    const unexpanded = withoutExpand(node);
    if (unexpanded) return rewrite(new Node(node.operator, unexpanded, node.attributes));
    const simpler = keepsStops && node.operator.name === "stopGradient" ? undefined : rules[node.operator.name]?.(node, isShared);
    if (simpler) {
      if (node.inputs.some((x) => x === simpler) || simpler.node.inputs.length === 0) return [simpler];
      return [rewrite(simpler.node)[simpler.index]!];
    }
    const turned = moveReshapes(node);
    if (turned) {
      return rewrite(turned.moved).map((output, i) => {
        const view = turned.view(output, i);
        return view === output ? view : rewrite(view.node)[0]!;
      });
    }
    return intern(node).outputs;
  };

  const nodes = nodesOf(tensors);
  for (const tensor of [...nodes.flatMap(({ inputs }) => inputs), ...tensors]) addUsers(tensor, 1);
  for (const node of nodes) {
    const operands = node.inputs.map((x) => replaced.get(x) ?? x);
    let current = operands.every((x, i) => x === node.inputs[i]) ? node : new Node(node.operator, operands, node.attributes);
    if (node.operator.name === segmentOperator.name) {
      const body = node.attributes["body"] as Program;
      current = new Node(node.operator, operands, { body: simplify(body, options) });
    }
    const result = rewrite(current);
    node.outputs.forEach((output, i) => {
      const replacement = result[i]!;
      replaced.set(output, replacement);
      if (replacement !== output) addUsers(replacement, users.get(output) ?? 0);
    });
  }
  return tensors.map((tensor) => replaced.get(tensor)!);
}

/** `simplifyTensors` for a whole program; names and order of inputs and outputs stay. */
export function simplify(traced: Program, options: SimplifyOptions = {}): Program {
  const results = simplifyTensors(traced.outputs.map(({ tensor }) => tensor), options);
  return {
    inputs: traced.inputs,
    outputs: traced.outputs.map(({ name }, i) => ({ name, tensor: results[i]! })),
    nodes: nodesOf(results),
  };
}
