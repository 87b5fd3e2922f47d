import { broadcastShapes, type Shape, sizeOf } from "../shape.ts";
import type { OnnxAttribute } from "../tensor.ts";
import type { OnnxNode } from "./writer.ts";

/** Shape and bytes per element of a value in an ONNX graph. */
export interface ValueType {
  readonly shape: Shape;
  readonly width: number;
}

export const bytesOfType = ({ shape, width }: ValueType): number => sizeOf(shape) * width;

interface Inference {
  readonly inputs: readonly (ValueType | undefined)[];
  /** The numbers of an int64 input. */
  ints(input: number): readonly number[];
  attribute(name: string, otherwise: number): number;
  list(name: string): readonly number[] | undefined;
}

const intsOf = (value: OnnxAttribute | undefined): readonly number[] | undefined => (typeof value === "object" && "ints" in value ? value.ints : undefined);

function resolveReshape(from: Shape, to: readonly number[]): Shape {
  const known = to.reduce((product, n) => (n === -1 ? product : product * n), 1);
  return to.map((n) => (n === -1 ? sizeOf(from) / known : n));
}

function sliceShape({ inputs: [x], ints }: Inference): Shape {
  const [starts, ends, axes, steps] = [1, 2, 3, 4].map(ints) as [readonly number[], readonly number[], readonly number[], readonly number[]];
  const result = [...x!.shape];
  axes.forEach((axis, i) => {
    const size = x!.shape[axis]!;
    const step = steps[i] ?? 1;
    const bound = (n: number, low: number, high: number): number => Math.min(Math.max(n < 0 ? n + size : n, low), high);
    const [from, to] = step > 0 ? [bound(starts[i]!, 0, size), bound(ends[i]!, 0, size)] : [bound(starts[i]!, 0, size - 1), bound(ends[i]!, -1, size - 1)];
    result[axis] = Math.max(0, Math.ceil((to - from) / step));
  });
  return result;
}

function productShape({ inputs: [a, b], attribute }: Inference): Shape {
  const [left, right] = [a!.shape, b!.shape];
  const rows = left.at(attribute("transA", 0) ? -1 : -2)!;
  const columns = right.at(attribute("transB", 0) ? -2 : -1)!;
  return [...broadcastShapes(left.slice(0, -2), right.slice(0, -2), "MatMul"), rows, columns];
}

function convShape({ inputs: [x, w], attribute, list }: Inference, isTransposed: boolean): Shape {
  const strides = list("strides") ?? [1, 1];
  const pads = list("pads") ?? [0, 0, 0, 0];
  const extra = list("output_padding") ?? [0, 0];
  const sizes = [0, 1].map((i) => {
    const [size, kernel, stride] = [x!.shape[i + 2]!, w!.shape[i + 2]!, strides[i]!];
    const padding = pads[i]! + pads[i + 2]!;
    return isTransposed ? (size - 1) * stride + kernel - padding + extra[i]! : Math.floor((size + padding - kernel) / stride) + 1;
  });
  return [x!.shape[0]!, isTransposed ? w!.shape[1]! * attribute("group", 1) : w!.shape[0]!, ...sizes];
}

function reducedShape({ inputs: [x], ints, attribute, list }: Inference, axesAreInput: boolean): Shape {
  const axes = (axesAreInput ? ints(1) : list("axes")) ?? x!.shape.map((_, i) => i);
  const isReduced = (i: number): boolean => axes.includes(i) || axes.includes(i - x!.shape.length);
  return x!.shape.flatMap((n, i) => (isReduced(i) ? (attribute("keepdims", 1) ? [1] : []) : [n]));
}

const WIDTH_OF_ELEMENT_TYPE: Readonly<Record<number, number>> = { 1: 4, 6: 4, 7: 8, 9: 1, 10: 2, 16: 2 };
/** Bytes per element of an ONNX element type that this project writes. */
export const widthOfElementType = (elementType: number): number => WIDTH_OF_ELEMENT_TYPE[elementType]!;
const TRUTH = new Set(["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not"]);

function outputShapes(node: OnnxNode, context: Inference): Shape[] {
  const { inputs, ints, attribute, list } = context;
  const first = inputs[0]!.shape;
  switch (node.opType) {
    case "Reshape": return [resolveReshape(first, ints(1))];
    case "Expand": return [broadcastShapes(first, ints(1), "Expand")];
    case "Transpose": return [(list("perm") ?? first.map((_, i) => first.length - 1 - i)).map((axis) => first[axis]!)];
    case "Slice": return [sliceShape(context)];
    case "Pad": return [first.map((n, i) => n + ints(1)[i]! + ints(1)[i + first.length]!)];
    case "Concat": return [first.with(attribute("axis", 0), inputs.reduce((total, x) => total + x!.shape.at(attribute("axis", 0))!, 0))];
    case "Split": return ints(1).map((n) => first.with(attribute("axis", 0), n));
    case "MatMul": case "FusedMatMul": case "Gemm": return [productShape(context)];
    case "Conv": return [convShape(context, false)];
    case "ConvTranspose": return [convShape(context, true)];
    case "ReduceSum": return [reducedShape(context, true)];
    case "ReduceMean": case "ReduceMax": case "ReduceMin": case "ReduceLogSumExp": return [reducedShape(context, inputs.length > 1)];
    case "ArgMax": return [attribute("keepdims", 1) ? first.with(attribute("axis", 0), 1) : first.toSpliced(attribute("axis", 0), 1)];
    case "LayerNormalization": return [first, first.with(-1, 1), first.with(-1, 1)];
    case "Gather": return [[...first.slice(0, attribute("axis", 0)), ...inputs[1]!.shape, ...first.slice(attribute("axis", 0) + 1)]];
    case "Resize": return [[...first.slice(0, 2), 2 * first[2]!, 2 * first[3]!]];
    case "MultiHeadAttention": return [first];
    // Everything else is elementwise.
    default: return [inputs.reduce<Shape>((shape, x) => (x ? broadcastShapes(shape, x.shape, node.opType) : shape), [])];
  }
}

function outputWidth({ opType, attributes }: OnnxNode, inputs: readonly (ValueType | undefined)[]): number {
  if (TRUTH.has(opType)) return 1;
  if (opType === "ArgMax") return 8;
  if (opType === "Cast") return widthOfElementType(attributes["to"] as number);
  return inputs[opType === "Where" ? 1 : 0]!.width;
}

/** Shape and element width of every value, from those of the graph's inputs and initializers. `nodes` in an order in which they can run. */
export function inferValueTypes(
  nodes: readonly OnnxNode[],
  known: ReadonlyMap<string, ValueType>,
  intConstants: ReadonlyMap<string, readonly number[]>,
): Map<string, ValueType> {
  const types = new Map(known);
  for (const node of nodes) {
    const inputs = node.inputs.map((name) => types.get(name));
    const shapes = outputShapes(node, {
      inputs,
      ints: (i) => intConstants.get(node.inputs[i] ?? "") ?? [],
      attribute: (name, otherwise) => (typeof node.attributes[name] === "number" ? node.attributes[name] : otherwise),
      list: (name) => intsOf(node.attributes[name]),
    });
    const width = outputWidth(node, inputs);
    node.outputs.forEach((name, i) => types.set(name, { shape: shapes[i]!, width }));
  }
  return types;
}
