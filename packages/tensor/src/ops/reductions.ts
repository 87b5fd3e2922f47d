import { UsageError } from "../errors.ts";
import { normalizeAxis, sizeOf, stridesOf, type Shape } from "../shape.ts";
import { apply1, type Operator, type ReferenceArray, type Tensor } from "../tensor.ts";
import { cast, div, equal, exp, mul, sub } from "./elementwise.ts";
import { expand, reshape } from "./shaping.ts";

type ReduceAttributes = { readonly axes: readonly number[]; readonly keepDims: boolean };

function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): Shape {
  return shape.flatMap((n, i) => (axes.includes(i) ? (keepDims ? [1] : []) : [n]));
}

/** Visits (output index, value) for every input element, in order. */
function forEachReduced(x: ReferenceArray, axes: readonly number[], visit: (output: number, value: number, index: number) => void): void {
  const kept = stridesOf(reducedShape(x.shape, axes, true)).map((stride, i) => (axes.includes(i) ? 0 : stride));
  const position = new Array<number>(x.shape.length).fill(0);
  let to = 0;
  for (let i = 0; i < x.data.length; i++) {
    visit(to, x.data[i]!, i);
    for (let axis = x.shape.length - 1; axis >= 0; axis--) {
      to += kept[axis]!;
      if (++position[axis]! < x.shape[axis]!) break;
      to -= kept[axis]! * x.shape[axis]!;
      position[axis] = 0;
    }
  }
}

/** Gradient of a reduction's output, with the reduced axes back as size 1. */
function keepAxes(reduced: Tensor, x: Tensor, axes: readonly number[]): Tensor {
  return reshape(reduced, reducedShape(x.shape, axes, true));
}

function reduction(
  name: string,
  onnx: string,
  reference: (x: ReferenceArray, axes: readonly number[], size: number) => Float64Array,
  rule: (gradient: Tensor, x: Tensor, y: Tensor, axes: readonly number[]) => Tensor,
): Operator<ReduceAttributes> {
  return {
    name,
    infer: ([x], { axes, keepDims }) => {
      if (x!.dtype !== "float32") throw new UsageError("dtype-mismatch", `${name}: expected float32, got ${x!.dtype}`);
      return [{ shape: reducedShape(x!.shape, axes, keepDims), dtype: "float32" }];
    },
    derivative: {
      rule: ({ inputs: [x], outputs: [y], cotangents, attributes: { axes } }) => [
        rule(keepAxes(cotangents[0]!, x!, axes), x!, keepAxes(y!, x!, axes), axes),
      ],
    },
    onnx: (emit, { inputs: [x], attributes: { axes, keepDims } }) => emit.node(onnx, [x!, emit.ints(axes)], { keepdims: Number(keepDims) }),
    reference: ([x], { axes }, [output]) => [reference(x!, axes, sizeOf(output!.shape))],
  };
}

function sumReference(x: ReferenceArray, axes: readonly number[], size: number): Float64Array {
  const result = new Float64Array(size);
  forEachReduced(x, axes, (to, value) => (result[to]! += value));
  return result;
}

function maxReference(x: ReferenceArray, axes: readonly number[], size: number): Float64Array {
  const result = new Float64Array(size).fill(-Infinity);
  forEachReduced(x, axes, (to, value) => (result[to] = Math.max(result[to]!, value)));
  return result;
}

const countOf = (shape: Shape, axes: readonly number[]): number => axes.reduce((n, axis) => n * shape[axis]!, 1);

/** Fewest and most rows for which a sum over leading axes is a product with ones. */
const ONES_PRODUCT_ROWS = [64, 1 << 16] as const;

const plainSum: Operator<ReduceAttributes> = reduction("sum", "ReduceSum", sumReference, (g, x) => expand(g, x.shape));

export const sumOperator: Operator<ReduceAttributes> = {
  ...plainSum,
  onnx: (emit, context) => {
    const { inputs, inputTypes, outputTypes, attributes: { axes } } = context;
    const rows = countOf(inputTypes[0]!.shape, axes);
    const columns = sizeOf(outputTypes[0]!.shape);
    const isLeading = axes.every((axis, i) => axis === i);
    if (!isLeading || columns < 16 || rows < ONES_PRODUCT_ROWS[0] || rows > ONES_PRODUCT_ROWS[1]) return plainSum.onnx(emit, context);
    // Two to three times as fast as ReduceSum over rows (bench/tensor-pieces.ts): bias gradients of linear layers and norms.
    const ones = emit.floats(new Float32Array(rows).fill(1), [1, rows]);
    const product = emit.node("MatMul", [ones, emit.node("Reshape", [inputs[0]!, emit.ints([rows, columns])])[0]!])[0]!;
    return emit.node("Reshape", [product, emit.ints(outputTypes[0]!.shape)]);
  },
};

export const meanOperator: Operator<ReduceAttributes> = reduction(
  "mean",
  "ReduceMean",
  (x, axes, size) => sumReference(x, axes, size).map((v) => v / countOf(x.shape, axes)),
  (g, x, _, axes) => expand(mul(g, 1 / countOf(x.shape, axes)), x.shape),
);

/** Largest value; equal maxima share the gradient evenly, as PyTorch's amax. */
export const maxOperator: Operator<ReduceAttributes> = reduction("max", "ReduceMax", maxReference, (g, x, y, axes) => {
  const isMaximum = cast(equal(x, y), "float32");
  return mul(g, div(isMaximum, sum(isMaximum, axes, true)));
});

export const logSumExpOperator: Operator<ReduceAttributes> = reduction(
  "logSumExp",
  "ReduceLogSumExp",
  (x, axes, size) => {
    // Subtracting an infinite maximum would give NaN where the result is infinite.
    const largest = maxReference(x, axes, size).map((v) => (Math.abs(v) === Infinity ? 0 : v));
    const total = new Float64Array(size);
    forEachReduced(x, axes, (to, value) => (total[to]! += Math.exp(value - largest[to]!)));
    return total.map((v, i) => largest[i]! + Math.log(v));
  },
  (g, x, y) => mul(g, exp(sub(x, y))),
);

type SoftmaxAttributes = { readonly axis: number };

export const softmaxOperator: Operator<SoftmaxAttributes> = {
  name: "softmax",
  infer: ([x]) => [{ shape: x!.shape, dtype: "float32" }],
  derivative: {
    rule: ({ outputs: [p], cotangents, attributes: { axis } }) => [
      mul(p!, sub(cotangents[0]!, sum(mul(p!, cotangents[0]!), axis, true))),
    ],
  },
  onnx: (emit, { inputs, attributes: { axis } }) => emit.node("Softmax", inputs, { axis }),
  reference: ([x], { axis }) => {
    const size = sizeOf(x!.shape) / (x!.shape[axis] ?? 1);
    const largest = maxReference(x!, [axis], size);
    const exponentials = new Float64Array(x!.data.length);
    const total = new Float64Array(size);
    forEachReduced(x!, [axis], (to, value, i) => {
      exponentials[i] = Math.exp(value - largest[to]!);
      total[to]! += exponentials[i]!;
    });
    forEachReduced(x!, [axis], (to, _, i) => (exponentials[i]! /= total[to]!));
    return [exponentials];
  },
};

/** Index of the first largest value along an axis. */
export const argMaxOperator: Operator<SoftmaxAttributes> = {
  name: "argMax",
  infer: ([x], { axis }) => [{ shape: x!.shape.toSpliced(axis, 1), dtype: "int32" }],
  derivative: { notDifferentiable: "its result is an index" },
  onnx: (emit, { inputs, attributes: { axis } }) => emit.node("Cast", emit.node("ArgMax", inputs, { axis, keepdims: 0 }), { to: 6 }),
  reference: ([x], { axis }, [output]) => {
    const largest = maxReference(x!, [axis], sizeOf(output!.shape));
    const result = new Float64Array(largest.length).fill(-1);
    const stride = stridesOf(x!.shape)[axis]!;
    forEachReduced(x!, [axis], (to, value, i) => {
      if (result[to]! < 0 && value === largest[to]) result[to] = Math.floor(i / stride) % x!.shape[axis]!;
    });
    return [result];
  },
};

type Axes = number | readonly number[] | undefined;

function reduce(operator: Operator<ReduceAttributes>, x: Tensor, axes: Axes, keepDims: boolean): Tensor {
  const list = axes === undefined ? x.shape.map((_, i) => i) : typeof axes === "number" ? [axes] : axes;
  const normalized = list.map((axis) => normalizeAxis(axis, x.shape.length, operator.name)).sort((a, b) => a - b);
  if (normalized.length === 0) return x;
  return apply1(operator, [x], { axes: normalized, keepDims });
}

/** Sum over axes (all when omitted). */
export const sum = (x: Tensor, axes?: Axes, keepDims = false): Tensor => reduce(sumOperator, x, axes, keepDims);
/** Mean over axes (all when omitted). */
export const mean = (x: Tensor, axes?: Axes, keepDims = false): Tensor => reduce(meanOperator, x, axes, keepDims);
/** Largest value over axes (all when omitted). */
export const max = (x: Tensor, axes?: Axes, keepDims = false): Tensor => reduce(maxOperator, x, axes, keepDims);
/** log Σ exp over axes, without overflow. */
export const logSumExp = (x: Tensor, axes?: Axes, keepDims = false): Tensor => reduce(logSumExpOperator, x, axes, keepDims);
/** Probabilities exp(x)/Σ exp(x) along an axis. */
export const softmax = (x: Tensor, axis = -1): Tensor => apply1(softmaxOperator, [x], { axis: normalizeAxis(axis, x.shape.length, "softmax") });
/** Index (int32) of the first largest value along an axis. */
export const argMax = (x: Tensor, axis: number): Tensor => apply1(argMaxOperator, [x], { axis: normalizeAxis(axis, x.shape.length, "argMax") });
