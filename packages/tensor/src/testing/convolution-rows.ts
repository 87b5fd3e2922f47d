import { conv2dOperator, convInputGradientOperator, convWeightGradientOperator, upsampleNearest2xOperator } from "../ops/convolution.ts";
import type { Shape } from "../shape.ts";
import { type OperatorRow, real, row } from "./operator-row.ts";

type Padding = readonly [number, number, number, number];

interface ConvCase {
  readonly title: string;
  readonly x: Shape;
  readonly w: Shape;
  readonly stride: number;
  readonly padding: Padding;
  readonly groups: number;
}

const cases: readonly ConvCase[] = [
  { title: "3×3 same", x: [2, 3, 5, 4], w: [4, 3, 3, 3], stride: 1, padding: [1, 1, 1, 1], groups: 1 },
  { title: "1×1", x: [2, 3, 3, 4], w: [2, 3, 1, 1], stride: 1, padding: [0, 0, 0, 0], groups: 1 },
  { title: "1×1, zeros below and right", x: [1, 2, 3, 3], w: [2, 2, 1, 1], stride: 1, padding: [0, 0, 1, 1], groups: 1 },
  { title: "stride 2", x: [2, 2, 6, 7], w: [3, 2, 3, 3], stride: 2, padding: [1, 1, 1, 1], groups: 1 },
  { title: "stride 2, odd size", x: [1, 2, 5, 5], w: [3, 2, 3, 3], stride: 2, padding: [1, 1, 1, 1], groups: 1 },
  { title: "stride 2, zeros below and right only", x: [1, 2, 6, 6], w: [3, 2, 3, 3], stride: 2, padding: [0, 0, 1, 1], groups: 1 },
  { title: "stride 3 that leaves a rest", x: [1, 2, 7, 8], w: [2, 2, 2, 2], stride: 3, padding: [0, 0, 0, 0], groups: 1 },
  { title: "unequal kernel and padding", x: [1, 2, 5, 6], w: [3, 2, 3, 2], stride: 1, padding: [2, 0, 1, 1], groups: 1 },
  { title: "more padding than kernel", x: [1, 2, 3, 3], w: [2, 2, 2, 2], stride: 1, padding: [1, 1, 3, 2], groups: 1 },
  { title: "two groups", x: [2, 4, 5, 5], w: [6, 2, 3, 3], stride: 1, padding: [1, 1, 1, 1], groups: 2 },
  { title: "one channel per group, stride 2", x: [1, 3, 6, 6], w: [3, 1, 3, 3], stride: 2, padding: [1, 1, 1, 1], groups: 3 },
  { title: "patches (stride = kernel)", x: [1, 3, 8, 8], w: [4, 3, 4, 4], stride: 4, padding: [0, 0, 0, 0], groups: 1 },
];

/** Shape of conv2d's result. */
function resultShape({ x, w, stride, padding: [top, left, bottom, right] }: ConvCase): Shape {
  const size = (n: number, kernel: number, zeros: number): number => Math.floor((n + zeros - kernel) / stride) + 1;
  return [x[0]!, w[0]!, size(x[2]!, w[2]!, top + bottom), size(x[3]!, w[3]!, left + right)];
}

/** Each convolution forwards, and its two gradients as operators of their own. */
export const convolutionRows: readonly OperatorRow[] = [
  ...cases.map(({ title, x, w, stride, padding, groups }) => row(conv2dOperator, title, [real(x), real(w)], { stride, padding, groups })),
  ...cases.map((each) => {
    const { title, x, w, stride, padding, groups } = each;
    return row(convInputGradientOperator, title, [real(resultShape(each)), real(w)], { stride, padding, groups, size: x.slice(2) });
  }),
  ...cases.map((each) => {
    const { title, x, w, stride, padding, groups } = each;
    return row(convWeightGradientOperator, title, [real(x), real(resultShape(each))], { stride, padding, groups, kernel: w.slice(2) });
  }),
  row(upsampleNearest2xOperator, "unequal sides", [real([2, 3, 2, 3])]),
];
