import type { Shape } from "../shape.ts";
import type { FileAttribute, FileType } from "./onnx-file.ts";
import { anyReal, between, distinct, nonZero, type Sampler } from "./samplers.ts";

/** An operand: a real input that gradients are taken by, other numbers fed at run time, or numbers in the file. */
export type ImportOperand =
  | { readonly kind: "real"; readonly shape: Shape; readonly sample: Sampler }
  | { readonly kind: "fed" | "fixed"; readonly type: FileType; readonly shape: Shape; readonly data: readonly number[] }
  | undefined;

/** One node as a file of its own, run by onnxruntime and by the imported program. */
export interface ImportRow {
  readonly op: string;
  readonly title: string;
  readonly operands: readonly ImportOperand[];
  readonly attributes: Readonly<Record<string, FileAttribute>>;
  readonly opset: number;
  readonly outputs: number;
  readonly domain: string;
  /** Whether gradients are checked: not for steps, whose slope is 0 here and a jump in differences. */
  readonly isSmooth: boolean;
}

const real = (shape: Shape, sample: Sampler = anyReal): ImportOperand => ({ kind: "real", shape, sample });
const fixed = (type: FileType, data: readonly number[], shape: Shape = [data.length]): ImportOperand => ({ kind: "fixed", type, shape, data });
const fed = (type: FileType, data: readonly number[], shape: Shape = [data.length]): ImportOperand => ({ kind: "fed", type, shape, data });
const ints = (...data: readonly number[]): ImportOperand => fixed("int64", data);
const scalar = (value: number, type: FileType = "float"): ImportOperand => fixed(type, [value], []);
const f = (value: number): FileAttribute => ({ float: value });
const list = (...values: readonly number[]): FileAttribute => ({ ints: values });

function node(
  op: string,
  title: string,
  operands: readonly ImportOperand[],
  attributes: Readonly<Record<string, FileAttribute>> = {},
  options: { readonly opset?: number; readonly outputs?: number; readonly domain?: string; readonly isSmooth?: boolean } = {},
): ImportRow {
  const { opset = 18, outputs = 1, domain = "", isSmooth = true } = options;
  return { op, title, operands, attributes, opset, outputs, domain, isSmooth };
}

const positive = between(0.3, 2.5);
const plain = ["Neg", "Exp", "Erf", "Sin", "Cos", "Tan", "Sinh", "Cosh", "Sigmoid", "Tanh", "Softplus", "Mish", "Identity", "HardSwish"];
const kinked = ["Abs", "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Softsign", "Reciprocal"];
const pair = [real([2, 3]), real([3])];
const steps = { isSmooth: false };

const elementwiseRows: readonly ImportRow[] = [
  ...plain.map((op) => node(op, "any number", [real([2, 3], op === "Tan" ? between(-1, 1) : anyReal)])),
  ...kinked.map((op) => node(op, "away from 0", [real([2, 5], nonZero)])),
  ...["Sqrt", "Log"].map((op) => node(op, "positive numbers", [real([2, 3], positive)])),
  ...["Floor", "Ceil", "Round", "Sign"].map((op) => node(op, "halves and others", [fed("float", [-2.5, -1.5, -0.5, 0, 0.5, 1.5, 2.5, 0.3, -0.7, 7])], {}, steps)),
  node("LeakyRelu", "a slope of its own", [real([6], nonZero)], { alpha: f(0.3) }),
  node("Elu", "alpha", [real([6], nonZero)], { alpha: f(1.7) }),
  node("Celu", "alpha", [real([6], nonZero)], { alpha: f(1.7) }),
  node("ThresholdedRelu", "alpha", [real([6], distinct)], { alpha: f(0.4) }),
  node("HardSigmoid", "inside and outside", [real([9], distinct)]),
  node("HardSigmoid", "as PyTorch has it", [real([9], distinct)], { alpha: f(1 / 6), beta: f(0.5) }),
  node("Shrink", "all three pieces", [real([9], distinct)], { lambd: f(0.4), bias: f(0.1) }),
  node("PRelu", "a slope per channel", [real([2, 3, 2], nonZero), real([3, 1])]),
  node("Gelu", "exact", [real([2, 3])], {}, { opset: 20 }),
  node("Gelu", "by tanh", [real([2, 3])], { approximate: "tanh" }, { opset: 20 }),
  node("Swish", "alpha 1", [real([2, 3])], {}, { opset: 24 }),
  node("Swish", "another alpha", [real([2, 3])], { alpha: f(1.702) }, { opset: 24 }),
  ...["Add", "Sub", "Mul"].map((op) => node(op, "broadcasting", pair)),
  node("Div", "broadcasting", [real([2, 3]), real([3], nonZero)]),
  ...["Add", "Sub", "Mul", "Div"].map((op) => node(op, "integers", [fed("int64", [7, -7, 4, 9]), fixed("int64", [2, 2, -3, 5])])),
  node("Pow", "a fixed whole exponent and a negative base", [real([4], nonZero), scalar(2)]),
  node("Pow", "a cube", [real([4], nonZero), scalar(3)]),
  node("Pow", "a fourth power", [real([4], nonZero), scalar(4)]),
  node("Pow", "minus one", [real([4], nonZero), fixed("float", [-1])]),
  node("Pow", "a root", [real([4], positive), scalar(0.5)]),
  node("Pow", "an exponent of whole type", [real([4], nonZero), scalar(2, "int64")]),
  node("Pow", "any exponent", [real([2, 3], positive), real([3])]),
  node("Mod", "integers of either sign", [fed("int64", [7, -7, 7, -7]), fixed("int64", [3, 3, -3, -3])]),
  node("Mod", "with the dividend's sign", [fed("float", [7.5, -7.5, 7.5, -7.5]), fixed("float", [2, 2, -2, -2])], { fmod: 1 }, steps),
  ...["Sum", "Mean", "Max", "Min"].map((op) => node(op, "three operands", [real([2, 3], nonZero), real([3], nonZero), real([1], distinct)])),
  node("Max", "one operand", [real([2])]),
  node("Abs", "integers", [fed("int64", [-3, 0, 2])]),
  node("Neg", "integers", [fed("int32", [-3, 0, 2])]),
  node("Clip", "both limits", [real([9], distinct), scalar(-0.5), scalar(0.7)]),
  node("Clip", "upper limit only", [real([9], distinct), undefined, scalar(0.7)]),
  node("Clip", "limits as attributes", [real([9], distinct)], { min: f(-0.5), max: f(0.7) }, { opset: 7 }),
  node("Clip", "computed limit", [real([9], distinct), fed("float", [-0.5], [])]),
  node("Clip", "integers", [fed("int64", [-5, 0, 5]), scalar(-1, "int64"), scalar(3, "int64")]),
  node("Cast", "to whole numbers", [fed("float", [-1.5, 0.5, 2.9])], { to: 7 }),
  node("Cast", "to truth values", [fed("float", [-1.5, 0, 2.9])], { to: 9 }),
  node("Cast", "from whole numbers", [fed("int64", [-1, 0, 2])], { to: 1 }),
  node("CastLike", "to the other's type", [fed("int64", [-1, 0, 2]), fixed("float", [0])]),
  node("Dropout", "does nothing", [real([2, 3])], {}, { outputs: 2 }),
  ...["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"].flatMap((op) => [
    node(op, "real numbers", [fed("float", [1, 2, 3]), fed("float", [2, 2, 2])]),
    node(op, "whole numbers", [fed("int64", [1, 2, 3]), fixed("int64", [2])]),
  ]),
  node("Equal", "truth values", [fed("bool", [0, 1, 1]), fed("bool", [1, 1, 0])]),
  ...["And", "Or", "Xor"].map((op) => node(op, "broadcasting", [fed("bool", [0, 0, 1, 1], [2, 2]), fed("bool", [0, 1])])),
  node("Not", "truth values", [fed("bool", [0, 1])]),
  node("IsNaN", "a number and none", [fed("float", [0, NaN, Infinity])]),
  node("Where", "broadcasting", [fed("bool", [0, 1, 1], [3]), real([2, 3]), real([])]),
  node("Where", "integers", [fed("bool", [0, 1]), fed("int64", [1, 2]), fixed("int64", [5, 6])]),
];

const shapingRows: readonly ImportRow[] = [
  node("Reshape", "a zero and a minus one", [real([2, 3, 4]), ints(0, -1)]),
  node("Reshape", "a zero that is meant", [fixed("float", [], [0, 3]), ints(3, 0)], { allowzero: 1 }),
  ...[0, 1, 2, 3, -1].map((axis) => node("Flatten", `axis ${axis}`, [real([2, 3, 4])], { axis })),
  node("Squeeze", "axes as operand", [real([2, 1, 3, 1]), ints(1, -1)]),
  node("Squeeze", "all of size 1", [real([2, 1, 3, 1])]),
  node("Squeeze", "axes as attribute", [real([2, 1, 3, 1])], { axes: list(1) }, { opset: 11 }),
  node("Unsqueeze", "axes as operand", [real([2, 3]), ints(0, -1)]),
  node("Unsqueeze", "axes as attribute", [real([2, 3])], { axes: list(1, 2) }, { opset: 11 }),
  node("Expand", "both sides", [real([2, 1, 3]), ints(4, 1, 5, 1)]),
  node("Transpose", "an order", [real([2, 3, 4])], { perm: list(1, 2, 0) }),
  node("Transpose", "reversed", [real([2, 3, 4])]),
  node("Concat", "negative axis", [real([2, 3]), real([2, 1])], { axis: -1 }),
  node("Split", "sizes as operand", [real([2, 5]), ints(2, 3)], { axis: 1 }, { outputs: 2 }),
  node("Split", "sizes as attribute", [real([2, 6])], { axis: 1, split: list(1, 2, 3) }, { outputs: 3, opset: 11 }),
  node("Split", "as many as outputs, the last shorter", [real([5, 2])], { num_outputs: 3 }, { outputs: 3 }),
  node("Split", "equal", [real([6, 2])], { num_outputs: 3 }, { outputs: 3 }),
  node("Slice", "some axes, open ends", [real([4, 5, 3]), ints(1, -2), ints(2 ** 31, 2 ** 62), ints(0, -1)]),
  node("Slice", "every second", [real([2, 7]), ints(1), ints(7), ints(1), ints(2)]),
  node("Slice", "every third, to the end exactly", [real([6]), ints(0), ints(6), ints(0), ints(3)]),
  node("Slice", "backwards", [real([2, 5]), ints(-1), ints(-(2 ** 62)), ints(1), ints(-1)]),
  node("Slice", "every second backwards", [real([7]), ints(5), ints(0), ints(0), ints(-2)]),
  node("Slice", "nothing", [real([4]), ints(3), ints(1), ints(0)]),
  node("Slice", "attributes", [real([4, 5])], { starts: list(1, 0), ends: list(3, -1) }, { opset: 9 }),
  node("Pad", "zeros", [real([2, 3]), ints(1, 0, 0, 2)]),
  node("Pad", "another value", [real([2, 3]), ints(1, 0, 0, 2), scalar(-1.5)]),
  node("Pad", "cuts where negative", [real([3, 4]), ints(-1, 1, 0, -2)]),
  node("Pad", "some axes", [real([2, 3]), ints(1, 2), undefined, ints(-1)]),
  ...["reflect", "edge"].map((mode) => node("Pad", mode, [real([2, 4]), ints(1, 3, 0, 2)], { mode })),
  node("Pad", "wrap", [real([2, 4]), ints(1, 3, 0, 2)], { mode: "wrap" }, { opset: 19 }),
  node("Pad", "attributes", [real([2, 3])], { pads: list(0, 1, 1, 0), value: f(0.5) }, { opset: 10 }),
  node("Tile", "some axes", [real([2, 3]), ints(1, 2)]),
  node("Tile", "all axes", [real([2, 1, 3]), ints(2, 3, 2)]),
  node("Shape", "all", [real([2, 3, 4])]),
  node("Shape", "a part", [real([2, 3, 4])], { start: 1, end: -1 }),
  node("Size", "all", [real([2, 3, 4])]),
  node("Constant", "a tensor", [], { value: { tensor: { type: "float", shape: [2], data: [1.5, -2] } } }),
  node("Constant", "a number", [], { value_float: f(0.25) }),
  node("Constant", "whole numbers", [], { value_ints: list(3, -4) }),
  node("Constant", "numbers", [], { value_floats: { floats: [0.5, -4] } }),
  node("ConstantOfShape", "zeros", [ints(2, 3)]),
  node("ConstantOfShape", "a whole number", [ints(2)], { value: { tensor: { type: "int64", shape: [1], data: [7] } } }),
  node("Range", "whole numbers", [scalar(10, "int64"), scalar(1, "int64"), scalar(-3, "int64")]),
  node("Range", "real numbers", [scalar(0), scalar(1), scalar(0.25)]),
  node("Trilu", "upper", [real([2, 3, 4])]),
  node("Trilu", "lower, shifted", [real([4, 3]), scalar(-1, "int64")], { upper: 0 }),
  node("EyeLike", "shifted", [fed("float", [0, 0, 0, 0, 0, 0], [2, 3])], { k: 1 }),
  ...["DCR", "CRD"].map((mode) => node("DepthToSpace", mode, [real([1, 8, 2, 3])], { blocksize: 2, mode })),
  node("SpaceToDepth", "blocks of 2", [real([1, 2, 4, 6])], { blocksize: 2 }),
  node("DequantizeLinear", "per tensor", [fixed("int8", [-128, 0, 5, 127]), scalar(0.1), scalar(3, "int8")]),
  node("DequantizeLinear", "per axis", [fixed("uint8", [0, 1, 2, 3, 250, 255], [2, 3]), fixed("float", [0.1, 0.5]), fixed("uint8", [1, 2])], { axis: 0 }),
];

const reduced = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd"];

const reductionRows: readonly ImportRow[] = [
  ...reduced.flatMap((op) => [
    node(op, "axes as operand", [real([2, 3, 4], distinct), ints(0, -1)], { keepdims: 0 }),
    node(op, "everything", [real([2, 3], distinct)]),
  ]),
  ...["ReduceMean", "ReduceMax", "ReduceL2"].map((op) => node(op, "axes as attribute", [real([2, 3, 4], distinct)], { axes: list(1, 2) }, { opset: 13 })),
  node("ReduceLogSum", "positive numbers", [real([2, 3], positive), ints(1)]),
  node("ReduceSum", "nothing to do", [real([2, 3])], { noop_with_empty_axes: 1 }),
  node("ReduceSum", "whole numbers", [fed("int64", [1, 2, 3, 4], [2, 2]), ints(0)]),
  node("ReduceProd", "whole numbers, as a number of elements", [fed("int64", [3, 4, 5])], { keepdims: 0 }),
  node("ReduceMax", "whole numbers", [fed("int64", [3, -4, 5])], { keepdims: 0 }),
  ...["Softmax", "LogSoftmax"].flatMap((op) => [
    node(op, "last axis", [real([2, 3, 4])]),
    node(op, "middle axis", [real([2, 3, 4])], { axis: 1 }),
    node(op, "everything from an axis on, before opset 13", [real([2, 3, 4])], { axis: 1 }, { opset: 11 }),
  ]),
  ...["ArgMax", "ArgMin"].flatMap((op) => [
    node(op, "kept", [fed("float", [1, 5, 2, 7, 0, 7], [2, 3])], { axis: 1 }),
    node(op, "dropped, the last of equals", [fed("float", [1, 5, 1, 7, 0, 7], [2, 3])], { axis: -1, keepdims: 0, select_last_index: 1 }),
  ]),
  node("ArgMax", "of token ids", [fed("int64", [3, 49407, 5, 49407, 1, 0], [2, 3])], { axis: -1, keepdims: 0 }),
  node("CumSum", "forwards", [real([2, 4]), scalar(1, "int64")]),
  node("CumSum", "backwards without the element itself", [real([3, 2]), scalar(0, "int64")], { exclusive: 1, reverse: 1 }),
  node("CumSum", "whole numbers", [fed("int64", [1, 2, 3]), scalar(0, "int64")]),
  node("LRN", "uneven neighbourhood", [real([1, 5, 2, 2])], { size: 3, alpha: f(0.3), beta: f(0.6), bias: f(1.5) }),
  ...[1, 2].map((p) => node("LpNormalization", `p ${p}`, [real([3, 4], nonZero)], { p, axis: 1 })),
];

const linearRows: readonly ImportRow[] = [
  node("MatMul", "matrices", [real([3, 4]), real([4, 2])]),
  node("MatMul", "batches and one matrix", [real([2, 3, 4]), real([4, 2])]),
  node("MatMul", "batches that broadcast", [real([2, 1, 3, 4]), real([5, 4, 2])]),
  node("MatMul", "a vector right", [real([2, 3, 4]), real([4])]),
  node("MatMul", "a vector left", [real([4]), real([2, 4, 3])]),
  node("MatMul", "two vectors", [real([4]), real([4])]),
  node("Gemm", "with everything", [real([4, 3]), real([2, 4]), real([2])], { transA: 1, transB: 1, alpha: f(0.5), beta: f(1.5) }),
  node("Gemm", "without a summand", [real([3, 4]), real([4, 2])]),
  ...["bij,bjk->bik", "bhld,bhsd->bhls", "ij,jk", "bi,i->b", "i,j->ij", "bcij,bdij->bcd", "bij,kj->bki"].map((equation) => {
    const sizes: Readonly<Record<string, number>> = { b: 2, h: 3, i: 3, j: 4, k: 2, l: 2, s: 4, d: 5, c: 3 };
    const terms = equation.split("->")[0]!.split(",");
    return node("Einsum", equation, terms.map((term) => real([...term].map((label) => sizes[label]!))), { equation });
  }),
  node("Einsum", "an ellipsis", [real([2, 3, 4]), real([4, 5])], { equation: "...i,ij->...j" }),
  node("Einsum", "one operand", [real([2, 3, 4])], { equation: "ijk->ki" }),
  node("Einsum", "three operands", [real([2, 3]), real([3, 4]), real([4, 2])], { equation: "ij,jk,kl->il" }),
  node("FusedMatMul", "transposed and scaled", [real([2, 4, 3]), real([2, 5, 4])], { transA: 1, transB: 1, alpha: f(0.5) }, { domain: "com.microsoft" }),
  node("MultiHeadAttention", "with biases", [real([2, 3, 4]), real([2, 5, 4]), real([2, 5, 4]), real([12])], { num_heads: 2 }, { domain: "com.microsoft" }),
  node("Attention", "four axes and a mask", [real([1, 2, 3, 4]), real([1, 2, 5, 4]), real([1, 2, 5, 4]), fixed("float", Array.from({ length: 15 }, (_, i) => (i % 4) / 2), [3, 5])], {}, { opset: 23 }),
  node("Attention", "a mask of truth values", [real([1, 2, 3, 4]), real([1, 2, 3, 4]), real([1, 2, 3, 4]), fixed("bool", [1, 0, 0, 1, 1, 0, 0, 1, 1], [3, 3])], { scale: f(0.3) }, { opset: 23 }),
  node("Attention", "three axes, causal", [real([1, 3, 4]), real([1, 3, 4]), real([1, 3, 4])], { q_num_heads: 2, kv_num_heads: 2, is_causal: 1 }, { opset: 23 }),
];

const normalizationRows: readonly ImportRow[] = [
  node("LayerNormalization", "last axis", [real([2, 3, 4]), real([4]), real([4])]),
  node("LayerNormalization", "two axes, without a summand", [real([2, 3, 4]), real([3, 4])], { axis: 1, epsilon: f(0.01) }),
  node("RMSNormalization", "last axis", [real([2, 3, 4]), real([4])], { epsilon: f(0.01) }, { opset: 23 }),
  node("BatchNormalization", "pictures", [real([2, 3, 2, 2]), real([3]), real([3]), real([3]), real([3], positive)], { epsilon: f(0.01) }),
  node("BatchNormalization", "rows", [real([2, 3]), real([3]), real([3]), real([3]), real([3], positive)], {}, { opset: 9 }),
  node("InstanceNormalization", "pictures", [real([2, 3, 2, 4]), real([3]), real([3])], { epsilon: f(0.01) }),
  node("GroupNormalization", "per channel", [real([2, 4, 3]), real([4]), real([4])], { num_groups: 2, epsilon: f(0.01) }, { opset: 21 }),
  node("GroupNormalization", "per group, before opset 21", [real([2, 4, 3]), real([2]), real([2])], { num_groups: 2, epsilon: f(0.01) }),
  node("SkipLayerNormalization", "with a bias", [real([2, 3, 4]), real([2, 3, 4]), real([4]), real([4]), real([4])], { epsilon: f(0.01) }, { domain: "com.microsoft" }),
  node("Gelu", "onnxruntime's own", [real([5])], {}, { domain: "com.microsoft" }),
  node("FastGelu", "with a bias", [real([2, 5]), real([5])], {}, { domain: "com.microsoft" }),
  node("BiasGelu", "with a bias", [real([2, 5]), real([5])], {}, { domain: "com.microsoft" }),
  node("QuickGelu", "alpha", [real([5])], { alpha: f(1.702) }, { domain: "com.microsoft" }),
];

const convolutionRows: readonly ImportRow[] = [
  node("Conv", "3×3 with biases", [real([2, 3, 5, 4]), real([4, 3, 3, 3]), real([4])], { pads: list(1, 1, 1, 1) }),
  node("Conv", "stride 2, uneven pads", [real([1, 2, 7, 6]), real([3, 2, 3, 3])], { pads: list(0, 1, 1, 0), strides: list(2, 2) }),
  node("Conv", "unequal strides", [real([1, 2, 7, 6]), real([3, 2, 3, 2])], { strides: list(3, 2) }),
  node("Conv", "a step in one direction only", [real([1, 2, 6, 5]), real([2, 2, 2, 3])], { strides: list(1, 3) }),
  node("Conv", "dilated", [real([1, 2, 7, 8]), real([3, 2, 3, 2])], { dilations: list(2, 3), pads: list(1, 1, 1, 1) }),
  node("Conv", "one channel per group", [real([1, 4, 5, 5]), real([4, 1, 3, 3]), real([4])], { group: 4, pads: list(1, 1, 1, 1) }),
  node("Conv", "a signal", [real([2, 3, 8]), real([4, 3, 3]), real([4])], { strides: list(2), pads: list(1, 1) }),
  ...["SAME_UPPER", "SAME_LOWER", "VALID"].map((auto_pad) => node("Conv", auto_pad, [real([1, 2, 6, 5]), real([2, 2, 2, 3])], { auto_pad, strides: list(2, 2) })),
  node("ConvTranspose", "stride 2 with output padding", [real([1, 3, 3, 4]), real([3, 2, 3, 3]), real([2])], { strides: list(2, 2), pads: list(1, 1, 1, 1), output_padding: list(1, 1) }),
  node("ConvTranspose", "groups", [real([1, 4, 3, 3]), real([4, 1, 2, 2])], { group: 2 }),
  node("ConvTranspose", "a signal", [real([1, 3, 4]), real([3, 2, 3])], { strides: list(2) }),
];

const poolingRows: readonly ImportRow[] = [
  node("MaxPool", "ResNet's", [real([1, 2, 7, 8], distinct)], { kernel_shape: list(3, 3), strides: list(2, 2), pads: list(1, 1, 1, 1) }),
  node("MaxPool", "disjoint", [real([1, 2, 4, 6], distinct)], { kernel_shape: list(2, 2), strides: list(2, 2) }),
  node("MaxPool", "rounded up", [real([1, 1, 6, 5], distinct)], { kernel_shape: list(3, 3), strides: list(2, 2), ceil_mode: 1 }),
  node("MaxPool", "dilated, uneven", [real([1, 1, 7, 6], distinct)], { kernel_shape: list(2, 3), dilations: list(3, 2) }),
  node("MaxPool", "a signal", [real([1, 2, 9], distinct)], { kernel_shape: list(3), strides: list(2) }),
  node("MaxPool", "a volume", [real([1, 1, 3, 4, 4], distinct)], { kernel_shape: list(2, 2, 2) }),
  node("MaxPool", "SAME_UPPER", [real([1, 1, 5, 4], distinct)], { kernel_shape: list(3, 2), strides: list(2, 2), auto_pad: "SAME_UPPER" }),
  node("AveragePool", "padding not counted", [real([1, 2, 6, 5])], { kernel_shape: list(3, 3), strides: list(2, 2), pads: list(1, 1, 1, 1) }),
  node("AveragePool", "padding counted", [real([1, 2, 6, 5])], { kernel_shape: list(3, 3), strides: list(2, 2), pads: list(1, 1, 1, 1), count_include_pad: 1 }),
  node("AveragePool", "rounded up", [real([1, 1, 6, 7])], { kernel_shape: list(3, 2), strides: list(2, 3), ceil_mode: 1 }),
  node("AveragePool", "a signal", [real([1, 2, 8])], { kernel_shape: list(2), strides: list(2) }),
  node("GlobalAveragePool", "pictures", [real([2, 3, 2, 4])]),
  node("GlobalMaxPool", "pictures", [real([2, 3, 2, 4], distinct)]),
  node("GlobalLpPool", "pictures", [real([2, 3, 2, 4])]),
];

const indexingRows: readonly ImportRow[] = [
  node("Gather", "one slice of the middle axis", [real([2, 4, 3]), scalar(-1, "int64")], { axis: 1 }),
  node("Gather", "neighbours", [real([2, 4, 3]), ints(1, 2)], { axis: 1 }),
  node("Gather", "repetitions, any order", [real([2, 4, 3]), fixed("int64", [3, 0, 0, -2], [2, 2])], { axis: 1 }),
  node("Gather", "an embedding by computed ids", [real([5, 3]), fed("int64", [4, 0, 2, -1], [2, 2])]),
  node("GatherND", "one position per row", [real([2, 4, 3]), fed("int64", [0, 3, 1, -3], [2, 2])]),
  node("GatherND", "batches", [real([2, 4, 3]), fed("int64", [3, 1], [2, 1])], { batch_dims: 1 }),
  node("GatherElements", "along an axis", [real([2, 4]), fed("int64", [3, 0, -1, 1, 1, 2], [2, 3])], { axis: 1 }),
  node("ScatterND", "rows", [real([4, 3]), fixed("int64", [2, -4], [2, 1]), real([2, 3])]),
  node("ScatterND", "cells", [real([2, 3]), fixed("int64", [0, 2, 1, 0, 1, 1], [3, 2]), real([3])]),
  node("ScatterND", "whole numbers", [fed("int64", [1, 2, 3]), fixed("int64", [1], [1, 1]), fixed("int64", [7])]),
  node("ScatterElements", "along an axis", [real([2, 4]), fixed("int64", [3, 0, -3, 2], [2, 2]), real([2, 2])], { axis: 1 }),
  node("ScatterElements", "the first axis", [real([3, 2]), fixed("int64", [2, 0], [1, 2]), real([1, 2])]),
  node("OneHot", "last axis", [fed("int64", [2, 0, -1]), scalar(4, "int64"), fixed("float", [-0.5, 1.5])]),
  node("OneHot", "first axis", [fed("int64", [2, 0, 1, 1], [2, 2]), scalar(3, "int64"), fixed("float", [0, 1])], { axis: 0 }),
];

/** Sizes that no mode hits exactly by luck. */
const resizeRows: readonly ImportRow[] = [
  ...["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"].flatMap((coordinate_transformation_mode) =>
    ["linear", "cubic"].flatMap((mode) => [
      node("Resize", `${mode}, ${coordinate_transformation_mode}, larger`, [real([1, 2, 4, 5]), undefined, undefined, ints(1, 2, 7, 11)], { mode, coordinate_transformation_mode }),
      node("Resize", `${mode}, ${coordinate_transformation_mode}, smaller`, [real([1, 1, 7, 9]), undefined, undefined, ints(1, 1, 3, 4)], { mode, coordinate_transformation_mode }),
    ]),
  ),
  ...["linear", "cubic"].map((mode) => node("Resize", `${mode}, antialiased`, [real([1, 1, 8, 9]), undefined, undefined, ints(1, 1, 3, 12)], { mode, antialias: 1, cubic_coeff_a: f(-0.5) })),
  node("Resize", "cubic without what is outside", [real([1, 1, 5, 6]), undefined, undefined, ints(1, 1, 8, 4)], { mode: "cubic", exclude_outside: 1 }),
  node("Resize", "linear by scales", [real([1, 1, 4, 5]), undefined, fixed("float", [1, 1, 1.6, 0.7])], { mode: "linear" }),
  node("Resize", "nearest by scales", [real([1, 1, 4, 5]), undefined, fixed("float", [1, 1, 2, 2])], { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" }),
  ...["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"].map((nearest_mode) =>
    node("Resize", `nearest, ${nearest_mode}`, [real([1, 1, 4, 5]), undefined, undefined, ints(1, 1, 8, 3)], { mode: "nearest", nearest_mode }),
  ),
  node("Resize", "some axes", [real([1, 2, 4, 5]), undefined, undefined, ints(7, 3)], { mode: "linear", axes: list(2, 3) }),
  node("Resize", "opset 10", [real([1, 1, 3, 4]), fixed("float", [1, 1, 2, 2])], { mode: "nearest" }, { opset: 10 }),
  node("Upsample", "opset 9", [real([1, 1, 3, 4]), fixed("float", [1, 1, 2, 2])], { mode: "linear" }, { opset: 9 }),
];

/** Every form of a node that the tests import; the first operands are differentiated where they are real. */
export const importRows: readonly ImportRow[] = [
  ...elementwiseRows,
  ...shapingRows,
  ...reductionRows,
  ...linearRows,
  ...normalizationRows,
  ...convolutionRows,
  ...poolingRows,
  ...indexingRows,
  ...resizeRows,
];
