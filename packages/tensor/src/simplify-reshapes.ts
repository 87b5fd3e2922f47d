import { reshape, reshapeOperator } from "./ops/shaping.ts";
import { sameShape, type Shape, sizeOf } from "./shape.ts";
import { Node, type Tensor } from "./tensor.ts";

const ELEMENTWISE = new Set([
  "add", "sub", "mul", "div", "maximum", "minimum",
  "neg", "abs", "exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "erf", "softplus", "reciprocal", "gelu", "sigmoidGate", "clamp",
]);
const LAST_AXIS = new Set(["standardize", "sum", "mean", "max", "softmax", "split", "concat"]);

/** What a reshape reads; undefined for other tensors. */
const viewed = (tensor: Tensor): Tensor | undefined => (tensor.node.operator.name === reshapeOperator.name ? tensor.node.inputs[0] : undefined);

/** Whether two reshapes regroup the leading axes alike and leave the last one alone: [rows, n] → [...groups, n]. */
const regroupsAlike = (from: Shape, to: Shape, otherFrom: Shape, otherTo: Shape): boolean =>
  from.at(-1) === to.at(-1) && otherFrom.at(-1) === otherTo.at(-1) && sameShape(from.slice(0, -1), otherFrom.slice(0, -1)) && sameShape(to.slice(0, -1), otherTo.slice(0, -1));

/** What an elementwise operation can read instead of `operand` when it reads `source` instead of a reshape of it to `shape`. */
function unviewedOperand(operand: Tensor, shape: Shape, source: Tensor): Tensor | undefined {
  const own = viewed(operand);
  if (own && sameShape(operand.shape, shape) && sameShape(own.shape, source.shape)) return own;
  if (own && own.shape.length > 0 && source.shape.length > 0 && regroupsAlike(source.shape, shape, own.shape, operand.shape)) return own;
  // A vector along trailing axes that both shapes share, or a scalar.
  const rank = operand.shape.length;
  const isTrailing = rank <= source.shape.length && sameShape(source.shape.slice(source.shape.length - rank), shape.slice(shape.length - rank));
  return isTrailing ? operand : undefined;
}

function elementwise(node: Node): readonly Tensor[] | undefined {
  const { shape } = node.outputs[0]!;
  const source = node.inputs.flatMap((operand) => (sameShape(operand.shape, shape) ? (viewed(operand) ?? []) : []))[0];
  if (!source || sizeOf(source.shape) !== sizeOf(shape)) return undefined;
  const operands = node.inputs.map((operand) => unviewedOperand(operand, shape, source));
  if (operands.includes(undefined)) return undefined;
  const moved = new Node(node.operator, operands as Tensor[], node.attributes);
  return moved.outputs.every((output) => sameShape(output.shape, source.shape)) ? moved.outputs : undefined;
}

function alongLastAxis(node: Node): readonly Tensor[] | undefined {
  const [first] = node.inputs as readonly [Tensor];
  const last = first.shape.length - 1;
  const { axis, axes, keepDims } = node.attributes;
  if (axis !== undefined && axis !== last) return undefined;
  if (axes !== undefined && !(Array.isArray(axes) && axes.length === 1 && axes[0] === last && keepDims === true)) return undefined;
  const sources = node.inputs.map(viewed);
  const isMovable = sources.every((source, i) => source && source.shape.length > 0 && regroupsAlike(sources[0]!.shape, first.shape, source.shape, node.inputs[i]!.shape));
  if (!isMovable) return undefined;
  const width = sources[0]!.shape.length - 1;
  const attributes = { ...node.attributes, ...(axis === undefined ? {} : { axis: width }), ...(axes === undefined ? {} : { axes: [width] }) };
  return new Node(node.operator, sources as Tensor[], attributes).outputs;
}

/**
 * Moves reshapes behind operations that give the same numbers before them, where they meet and cancel: a transformer keeps its tokens as rows of a
 * matrix, and only attention sees the batch. Returns the node's outputs by way of the moved node, or undefined where nothing moves.
 */
export function moveReshapes(node: Node): { readonly moved: Node; readonly view: (output: Tensor, index: number) => Tensor } | undefined {
  const outputs = ELEMENTWISE.has(node.operator.name) ? elementwise(node) : LAST_AXIS.has(node.operator.name) ? alongLastAxis(node) : undefined;
  return outputs && { moved: outputs[0]!.node, view: (output, index) => reshape(output, node.outputs[index]!.shape) };
}
