import { UsageError } from "../errors.ts";
import { broadcastShapes, normalizeAxis, sameShape, type Shape, sizeOf, stridesOf } from "../shape.ts";
import { apply, apply1, type Operator, type Tensor } from "../tensor.ts";
import { filled } from "./leaves.ts";

/** Copies by an affine map of indices: output position p reads offset + Σ p_i·stride_i of the input. */
function gatherStrided(input: Float64Array, shape: Shape, strides: readonly number[], offset: number): Float64Array {
  const result = new Float64Array(sizeOf(shape));
  const position = new Array<number>(shape.length).fill(0);
  let from = offset;
  for (let i = 0; i < result.length; i++) {
    result[i] = input[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      if (++position[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      position[axis] = 0;
    }
  }
  return result;
}

type ShapeAttributes = { readonly shape: Shape };

export const reshapeOperator: Operator<ShapeAttributes> = {
  name: "reshape",
  infer: ([x], { shape }) => {
    if (sizeOf(shape) !== sizeOf(x!.shape)) {
      throw new UsageError("shape-mismatch", `reshape: expected ${sizeOf(x!.shape)} elements as in [${x!.shape}], got [${shape}]`);
    }
    return [{ shape, dtype: x!.dtype }];
  },
  derivative: { rule: ({ inputs: [x], cotangents }) => [reshape(cotangents[0]!, x!.shape)] },
  onnx: (emit, { inputs: [x], attributes: { shape } }) => emit.node("Reshape", [x!, emit.ints(shape)], sizeOf(shape) === 0 ? { allowzero: 1 } : {}),
  reference: ([x]) => [x!.data],
};

export const expandOperator: Operator<ShapeAttributes> = {
  name: "expand",
  infer: ([x], { shape }) => {
    if (!sameShape(broadcastShapes(x!.shape, shape, "expand"), shape)) {
      throw new UsageError("shape-mismatch", `expand: expected a shape that [${x!.shape}] broadcasts to, got [${shape}]`);
    }
    return [{ shape, dtype: x!.dtype }];
  },
  // The gradient engine sums a larger gradient back to the input's shape, in one place for all operators.
  derivative: { rule: ({ cotangents }) => [cotangents[0]] },
  onnx: (emit, { inputs: [x], attributes: { shape } }) => emit.node("Expand", [x!, emit.ints(shape)]),
  reference: ([x], { shape }) => {
    const own = stridesOf(x!.shape);
    const shift = shape.length - x!.shape.length;
    const strides = shape.map((_, i) => (i < shift || x!.shape[i - shift] === 1 ? 0 : own[i - shift]!));
    return [gatherStrided(x!.data, shape, strides, 0)];
  },
};

type PermutationAttributes = { readonly permutation: readonly number[] };

export const transposeOperator: Operator<PermutationAttributes> = {
  name: "transpose",
  infer: ([x], { permutation }) => {
    const sorted = [...permutation].sort((a, b) => a - b);
    if (sorted.length !== x!.shape.length || sorted.some((axis, i) => axis !== i)) {
      throw new UsageError("bad-permutation", `transpose: expected a permutation of the ${x!.shape.length} axes of [${x!.shape}], got [${permutation}]`);
    }
    return [{ shape: permutation.map((axis) => x!.shape[axis]!), dtype: x!.dtype }];
  },
  derivative: {
    rule: ({ cotangents, attributes: { permutation } }) => [transpose(cotangents[0]!, permutation.map((_, i) => permutation.indexOf(i)))],
  },
  onnx: (emit, { inputs, attributes: { permutation } }) => emit.node("Transpose", inputs, { perm: { ints: permutation } }),
  reference: ([x], { permutation }, [output]) => {
    const strides = stridesOf(x!.shape);
    return [gatherStrided(x!.data, output!.shape, permutation.map((axis) => strides[axis]!), 0)];
  },
};

type SliceAttributes = { readonly starts: readonly number[]; readonly ends: readonly number[]; readonly flips: readonly number[] };

/** Elements starts ≤ i < ends of every axis; an axis with flip 1 is then reversed. */
export const sliceOperator: Operator<SliceAttributes> = {
  name: "slice",
  infer: ([x], { starts, ends, flips }) => {
    const { shape } = x!;
    const isValid =
      [starts, ends, flips].every((list) => list.length === shape.length) &&
      shape.every((n, i) => starts[i]! >= 0 && starts[i]! <= ends[i]! && ends[i]! <= n);
    if (!isValid) throw new UsageError("bad-slice", `slice: expected 0 ≤ start ≤ end ≤ size for every axis of [${shape}], got [${starts}] to [${ends}]`);
    return [{ shape: shape.map((_, i) => ends[i]! - starts[i]!), dtype: x!.dtype }];
  },
  derivative: {
    rule: ({ inputs: [x], cotangents, attributes: { starts, ends, flips } }) => {
      const upright = flips.includes(1) ? flip(cotangents[0]!, flips.flatMap((isFlipped, axis) => (isFlipped ? [axis] : []))) : cotangents[0]!;
      return [pad(upright, starts, x!.shape.map((n, i) => n - ends[i]!))];
    },
  },
  onnx: (emit, { inputs: [x], inputTypes, attributes: { starts, ends, flips } }) => {
    const { shape } = inputTypes[0]!;
    const axes = shape.flatMap((n, i) => (starts[i] === 0 && ends[i] === n && !flips[i] ? [] : [i]));
    if (axes.length === 0) return emit.node("Identity", [x!]);
    const isReversed = (i: number): boolean => flips[i] === 1 && starts[i]! < ends[i]!;
    if (emit.provider === "webgpu" && axes.some(isReversed)) {
      // onnxruntime's WebGPU kernel is right only where the whole of one axis is reversed.
      let y = x!;
      if (axes.some((i) => starts[i]! > 0 || ends[i]! < shape[i]!)) y = emit.node("Slice", [y, emit.ints(axes.map((i) => starts[i]!)), emit.ints(axes.map((i) => ends[i]!)), emit.ints(axes)])[0]!;
      for (const i of axes.filter(isReversed)) y = emit.node("Slice", [y, emit.ints([-1]), emit.ints([starts[i]! - ends[i]! - 1]), emit.ints([i]), emit.ints([-1])])[0]!;
      return [y];
    }
    const first = axes.map((i) => (isReversed(i) ? ends[i]! - 1 : starts[i]!));
    // A reversed slice that reaches element 0 needs an end below −size.
    const last = axes.map((i) => (isReversed(i) ? (starts[i] === 0 ? -shape[i]! - 1 : starts[i]! - 1) : ends[i]!));
    return emit.node("Slice", [x!, emit.ints(first), emit.ints(last), emit.ints(axes), emit.ints(axes.map((i) => (isReversed(i) ? -1 : 1)))]);
  },
  reference: ([x], { starts, ends, flips }, [output]) => {
    const strides = stridesOf(x!.shape);
    const offset = strides.reduce((sum, stride, i) => sum + stride * (flips[i] ? ends[i]! - 1 : starts[i]!), 0);
    return [gatherStrided(x!.data, output!.shape, strides.map((stride, i) => (flips[i] ? -stride : stride)), offset)];
  },
};

type PadAttributes = { readonly before: readonly number[]; readonly after: readonly number[] };

/** Adds zeros around. */
export const padOperator: Operator<PadAttributes> = {
  name: "pad",
  infer: ([x], { before, after }) => {
    if (before.length !== x!.shape.length || after.length !== x!.shape.length || [...before, ...after].some((n) => n < 0)) {
      throw new UsageError("bad-padding", `pad: expected ${x!.shape.length} non-negative widths before and after, got [${before}] and [${after}]`);
    }
    return [{ shape: x!.shape.map((n, i) => n + before[i]! + after[i]!), dtype: x!.dtype }];
  },
  derivative: {
    rule: ({ inputs: [x], cotangents, attributes: { before } }) => [slice(cotangents[0]!, before, x!.shape.map((n, i) => before[i]! + n))],
  },
  onnx: (emit, { inputs: [x], attributes: { before, after } }) => emit.node("Pad", [x!, emit.ints([...before, ...after])]),
  reference: ([x], { before }, [output]) => {
    const result = new Float64Array(sizeOf(output!.shape));
    const strides = stridesOf(output!.shape);
    const position = new Array<number>(x!.shape.length).fill(0);
    let to = strides.reduce((sum, stride, i) => sum + stride * before[i]!, 0);
    for (let i = 0; i < x!.data.length; i++) {
      result[to] = x!.data[i]!;
      for (let axis = position.length - 1; axis >= 0; axis--) {
        to += strides[axis]!;
        if (++position[axis]! < x!.shape[axis]!) break;
        to -= strides[axis]! * x!.shape[axis]!;
        position[axis] = 0;
      }
    }
    return [result];
  },
};

type AxisAttributes = { readonly axis: number };

type SplitAttributes = AxisAttributes & { readonly parts: number };

/** Equal pieces along an axis. Its derivative is one concatenation, where slices would pad and add. */
export const splitOperator: Operator<SplitAttributes> = {
  name: "split",
  infer: ([x], { axis, parts }) => {
    const width = x!.shape[axis]! / parts;
    if (!Number.isInteger(width) || width < 1) throw new UsageError("bad-split", `split: expected axis ${axis} of [${x!.shape}] to divide by ${parts}`);
    return Array.from({ length: parts }, () => ({ shape: x!.shape.with(axis, width), dtype: x!.dtype }));
  },
  derivative: {
    rule: ({ outputs, cotangents, attributes: { axis } }) => [concat(cotangents.map((g, i) => g ?? filled(0, outputs[i]!.shape)), axis)],
  },
  onnx: (emit, { inputs: [x], outputTypes, attributes: { axis, parts } }) =>
    emit.node("Split", [x!, emit.ints(outputTypes.map(({ shape }) => shape[axis]!))], { axis }, { outputCount: parts }),
  reference: ([x], { axis }, outputs) => {
    const strides = stridesOf(x!.shape);
    return outputs.map(({ shape }, i) => gatherStrided(x!.data, shape, strides, i * shape[axis]! * strides[axis]!));
  },
};

export const concatOperator: Operator<AxisAttributes> = {
  name: "concat",
  infer: (inputs, { axis }) => {
    const first = inputs[0];
    if (!first) throw new UsageError("no-input", "concat: expected at least one tensor, got none");
    for (const x of inputs) {
      if (x.dtype !== first.dtype || !sameShape(x.shape.toSpliced(axis, 1), first.shape.toSpliced(axis, 1)) || x.shape.length !== first.shape.length) {
        throw new UsageError("shape-mismatch", `concat: expected shapes equal except on axis ${axis}, got ${inputs.map((t) => `[${t.shape}]`).join(", ")}`);
      }
    }
    const total = inputs.reduce((sum, x) => sum + x.shape[axis]!, 0);
    return [{ shape: first.shape.with(axis, total), dtype: first.dtype }];
  },
  derivative: {
    rule: ({ inputs, cotangents, attributes: { axis }, needed }) => {
      let start = 0;
      return inputs.map((x, i) => {
        const from = start;
        start += x.shape[axis]!;
        return needed[i] ? sliceAxis(cotangents[0]!, axis, from, start) : undefined;
      });
    },
  },
  onnx: (emit, { inputs, attributes: { axis } }) => emit.node("Concat", inputs, { axis }),
  reference: (inputs, { axis }, [output]) => {
    const result = new Float64Array(sizeOf(output!.shape));
    const outer = sizeOf(output!.shape.slice(0, axis));
    const rowSize = sizeOf(output!.shape.slice(axis));
    let column = 0;
    for (const x of inputs) {
      const width = sizeOf(x.shape.slice(axis));
      for (let row = 0; row < outer; row++) result.set(x.data.subarray(row * width, (row + 1) * width), row * rowSize + column);
      column += width;
    }
    return [result];
  },
};

/** x with another shape of equally many elements; one size may be −1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((product, n) => (n === -1 ? product : product * n), 1);
  const resolved = shape.map((n) => (n === -1 ? sizeOf(x.shape) / known : n));
  return sameShape(resolved, x.shape) ? x : apply1(reshapeOperator, [x], { shape: resolved });
}

/** x repeated along axes of size 1 (and new leading axes) up to `shape`. */
export function expand(x: Tensor, shape: Shape): Tensor {
  return sameShape(shape, x.shape) ? x : apply1(expandOperator, [x], { shape });
}

/** Axes in another order: output axis i is input axis `permutation[i]`. */
export function transpose(x: Tensor, permutation: readonly number[]): Tensor {
  return permutation.length === x.shape.length && permutation.every((axis, i) => axis === i) ? x : apply1(transposeOperator, [x], { permutation });
}

/** Elements start ≤ i < end of every axis; a step of −1 walks the same elements backwards. */
export function slice(x: Tensor, starts: readonly number[], ends: readonly number[], steps?: readonly (1 | -1)[]): Tensor {
  const flips = x.shape.map((_, i) => (steps?.[i] === -1 ? 1 : 0));
  const isWhole = x.shape.every((n, i) => starts[i] === 0 && ends[i] === n && flips[i] === 0);
  return isWhole ? x : apply1(sliceOperator, [x], { starts, ends, flips });
}

/** Elements start ≤ i < end of one axis. */
export function sliceAxis(x: Tensor, axis: number, start: number, end: number): Tensor {
  const at = normalizeAxis(axis, x.shape.length, "sliceAxis");
  return slice(x, x.shape.map((_, i) => (i === at ? start : 0)), x.shape.with(at, end));
}

/** x with the given axes reversed. */
export function flip(x: Tensor, axes: readonly number[]): Tensor {
  return slice(x, x.shape.map(() => 0), x.shape, x.shape.map((_, i) => (axes.includes(i) ? -1 : 1)));
}

/** Zeros added before and after each axis. */
export function pad(x: Tensor, before: readonly number[], after: readonly number[]): Tensor {
  const isNothing = before.length === x.shape.length && after.length === x.shape.length && [...before, ...after].every((n) => n === 0);
  return isNothing ? x : apply1(padOperator, [x], { before, after });
}

/** Tensors joined along an axis. */
export function concat(xs: readonly Tensor[], axis: number): Tensor {
  return xs.length === 1 ? xs[0]! : apply1(concatOperator, xs, { axis: normalizeAxis(axis, xs[0]?.shape.length ?? 0, "concat") });
}

/** `parts` equal pieces along an axis. */
export function split(x: Tensor, axis: number, parts: number): Tensor[] {
  return parts === 1 ? [x] : [...apply(splitOperator, [x], { axis: normalizeAxis(axis, x.shape.length, "split"), parts })];
}

/** x without an axis of size 1. */
export function squeeze(x: Tensor, axis: number): Tensor {
  const at = normalizeAxis(axis, x.shape.length, "squeeze");
  if (x.shape[at] !== 1) throw new UsageError("shape-mismatch", `squeeze: expected size 1 on axis ${at}, got [${x.shape}]`);
  return reshape(x, x.shape.toSpliced(at, 1));
}

/** x with a new axis of size 1 before position `axis`. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  return reshape(x, x.shape.toSpliced(normalizeAxis(axis, x.shape.length + 1, "unsqueeze"), 0, 1));
}

