import { cast } from "../../../ops/elementwise.ts";
import { take } from "../../../ops/indexing.ts";
import { constant, filled } from "../../../ops/leaves.ts";
import { matmul } from "../../../ops/matmul.ts";
import { concat, expand, flip, pad, reshape, sliceAxis, transpose } from "../../../ops/shaping.ts";
import type { Shape } from "../../../shape.ts";
import type { Tensor } from "../../../tensor.ts";

/** Whole numbers known now. */
export const wholes = (values: readonly number[], shape: Shape = [values.length]): Tensor => constant(values, shape, "int32");

/** Computes on float32 and returns the operand's own type: our reductions know float32 only. Exact for integers below 2²⁴. */
export function viaReal(x: Tensor, fn: (x: Tensor) => Tensor): Tensor {
  return x.dtype === "float32" ? fn(x) : cast(fn(cast(x, "float32")), x.dtype);
}

/** `count` elements of an axis from `start` on, every `step`-th (step ≥ 1). */
export function stridedAxis(x: Tensor, axis: number, start: number, count: number, step: number): Tensor {
  if (step === 1 || count <= 1) return sliceAxis(x, axis, start, start + count);
  const missing = Math.max(0, start + count * step - x.shape[axis]!);
  const none = x.shape.map(() => 0);
  const whole = sliceAxis(pad(x, none, none.with(axis, missing)), axis, start, start + count * step);
  const rows = reshape(whole, x.shape.toSpliced(axis, 1, count, step));
  return reshape(sliceAxis(rows, axis + 1, 0, 1), x.shape.with(axis, count));
}

/** Elements first, first + step, … of an axis (step may be negative). */
export function steppedAxis(x: Tensor, axis: number, first: number, count: number, step: number): Tensor {
  if (count === 0) return sliceAxis(x, axis, 0, 0);
  if (step > 0) return stridedAxis(x, axis, first, count, step);
  const last = first + (count - 1) * step;
  if (step === -1) return flip(sliceAxis(x, axis, last, first + 1), [axis]);
  return flip(stridedAxis(x, axis, last, count, -step), [axis]);
}

/** Axes in an order where `axis` comes first, and the order that undoes it. */
function frontOrder(rank: number, axis: number): { readonly there: number[]; readonly back: number[] } {
  const there = [axis, ...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)];
  return { there, back: there.map((_, i) => there.indexOf(i)) };
}

/** Slices of an axis chosen by int32 ids in range; the axis is replaced by those of the ids. */
export function takeAxis(x: Tensor, axis: number, ids: Tensor): Tensor {
  if (axis === 0) return take(x, ids);
  const taken = take(transpose(x, frontOrder(x.shape.length, axis).there), ids);
  const [outer, inner] = [ids.shape.length, x.shape.length - 1];
  // [...ids, ...before axis, ...after axis] → [...before axis, ...ids, ...after axis]
  const order = [
    ...Array.from({ length: axis }, (_, i) => outer + i),
    ...Array.from({ length: outer }, (_, i) => i),
    ...Array.from({ length: inner - axis }, (_, i) => outer + axis + i),
  ];
  return transpose(taken, order);
}

/** A matrix [to, from], row-major. */
export interface AxisMatrix {
  readonly to: number;
  readonly from: number;
  readonly data: Float64Array;
}

/** A linear map along one axis, whose size becomes the matrix's number of rows. */
export function mapAxis(x: Tensor, axis: number, { to, from, data }: AxisMatrix): Tensor {
  const matrix = constant(data, [to, from]);
  const rank = x.shape.length;
  if (axis === rank - 1 && rank >= 2) return matmul(x, matrix, { transposeB: true });
  if (axis === rank - 2) return matmul(matrix, x);
  const inner = x.shape.slice(axis + 1).reduce((product, n) => product * n, 1);
  const outer = x.shape.slice(0, axis).reduce((product, n) => product * n, 1);
  return reshape(matmul(matrix, reshape(x, [outer, from, inner])), x.shape.with(axis, to));
}

/** A border of one value around. */
export function padWith(x: Tensor, value: number, before: readonly number[], after: readonly number[]): Tensor {
  if (value === 0 && x.dtype !== "bool") return pad(x, before, after);
  const scalar = filled(value, [], x.dtype);
  return x.shape.reduce((padded, _, axis) => {
    const border = (width: number): Tensor[] => (width === 0 ? [] : [expand(scalar, padded.shape.with(axis, width))]);
    return concat([...border(before[axis]!), padded, ...border(after[axis]!)], axis);
  }, x);
}

