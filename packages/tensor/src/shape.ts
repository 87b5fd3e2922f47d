import { UsageError } from "./errors.ts";

/** Sizes of a tensor's axes, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

/** Element types that programs compute with. */
export type DType = "float32" | "int32" | "bool";

/** What is known of a tensor before it has values. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides: number[] = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i]!;
  }
  return strides;
}

/** True when both have the same axes. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** NumPy broadcasting of two shapes; throws a `UsageError` naming `what` when they do not fit. */
export function broadcastShapes(a: Shape, b: Shape, what: string): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const m = a[i - rank + a.length] ?? 1;
    const n = b[i - rank + b.length] ?? 1;
    if (m !== n && m !== 1 && n !== 1) {
      throw new UsageError("shape-mismatch", `${what}: expected shapes that broadcast, got [${a}] and [${b}]`);
    }
    return m === 1 ? n : m;
  });
}

/** A non-negative axis; −1 is the last. */
export function normalizeAxis(axis: number, rank: number, what: string): number {
  const result = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || result < 0 || result >= rank) {
    throw new UsageError("axis-out-of-range", `${what}: expected an axis in [${-rank}, ${rank}), got ${axis}`);
  }
  return result;
}

/** Throws a `UsageError` unless every size is a non-negative safe integer. */
export function checkShape(shape: Shape, what: string): void {
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0) || !Number.isSafeInteger(sizeOf(shape))) {
    throw new UsageError("bad-shape", `${what}: expected non-negative integer sizes, got [${shape}]`);
  }
}
