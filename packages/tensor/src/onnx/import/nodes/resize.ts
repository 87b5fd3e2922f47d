import type { Tensor } from "../../../tensor.ts";
import type { NodeContext, NodeMapping } from "../node-context.ts";
import { type AxisMatrix, mapAxis } from "./helpers.ts";

const COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"] as const;
const ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] as const;

interface AxisResize {
  readonly from: number;
  readonly to: number;
  /** to/from as the model says it, which need not be exact. */
  readonly scale: number;
  readonly mode: "nearest" | "linear" | "cubic";
  readonly coordinates: (typeof COORDINATES)[number];
  readonly rounding: (typeof ROUNDINGS)[number];
  readonly cubicA: number;
  readonly isAntialiased: boolean;
  readonly excludesOutside: boolean;
}

/** Position in the input that output `i` is taken at. Source: ONNX, Resize, coordinate_transformation_mode. */
function sourceOf({ from, to, scale, coordinates }: AxisResize, i: number): number {
  switch (coordinates) {
    case "half_pixel": return (i + 0.5) / scale - 0.5;
    case "half_pixel_symmetric": {
      const adjustment = to / (scale * from);
      return (from / 2) * (1 - adjustment) + (i + 0.5) / scale - 0.5;
    }
    case "pytorch_half_pixel": return to > 1 ? (i + 0.5) / scale - 0.5 : 0;
    case "align_corners": return to === 1 ? 0 : (i * (from - 1)) / (to - 1);
    case "asymmetric": return i / scale;
  }
}

function rounded(x: number, rounding: AxisResize["rounding"]): number {
  switch (rounding) {
    case "round_prefer_floor": return Math.ceil(x - 0.5);
    case "round_prefer_ceil": return Math.floor(x + 0.5);
    case "floor": return Math.floor(x);
    case "ceil": return Math.ceil(x);
  }
}

/** Keys' cubic convolution kernel. */
function cubic(x: number, a: number): number {
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

/** One axis of a resize as a matrix. Indices beyond the border are clamped to it, or left out with `excludesOutside`. */
function resizeMatrix(axis: AxisResize): AxisMatrix {
  const { from, to, scale, mode, rounding, cubicA, isAntialiased, excludesOutside } = axis;
  const data = new Float64Array(to * from);
  const clamped = (j: number): number => Math.min(Math.max(j, 0), from - 1);
  // An antialiased filter is as wide as the step between outputs.
  const width = isAntialiased ? Math.max(1, 1 / scale) : 1;
  const reach = (mode === "cubic" ? 2 : 1) * width;
  const kernel = mode === "cubic" ? (t: number): number => cubic(t, cubicA) : (t: number): number => Math.max(0, 1 - Math.abs(t));
  for (let i = 0; i < to; i++) {
    const source = sourceOf(axis, i);
    if (mode === "nearest") {
      data[i * from + clamped(rounded(source, rounding))] = 1;
      continue;
    }
    const taps: [number, number][] = [];
    for (let j = Math.floor(source - reach); j <= Math.ceil(source + reach); j++) {
      const weight = kernel((j - source) / width);
      if (weight !== 0 && !(excludesOutside && (j < 0 || j >= from))) taps.push([clamped(j), weight]);
    }
    const total = taps.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [j, weight] of taps) data[i * from + j]! += weight / total;
  }
  return { to, from, data };
}

/** Sizes or scales of all axes; `[scale, size]` each. */
function targets(node: NodeContext, x: Tensor): readonly (readonly [scale: number, size: number])[] {
  const { shape } = x;
  if (node.op === "Upsample") {
    const scales = node.floats("scales") ?? node.known(1);
    return scales.map((scale, i) => [scale, Math.floor((shape[i] ?? 0) * scale)]);
  }
  const given = node.ints("axes")?.map((axis) => node.axis(axis, shape.length)) ?? shape.map((_, i) => i);
  const isGiven = (i: number): boolean => node.optional(i) !== undefined && node.known(i).length > 0;
  const [scalesAt, sizesAt] = node.opset < 11 ? [1, 4] : [2, 3];
  const result: [number, number][] = shape.map((n) => [1, n]);
  const fill = (values: readonly number[], target: (value: number, size: number) => [number, number]): void => {
    if (values.length !== given.length) throw node.error(`expected ${given.length} scales or sizes, got [${values}]`);
    given.forEach((axis, i) => (result[axis] = target(values[i]!, shape[axis]!)));
  };
  if (isGiven(sizesAt)) {
    if (node.choice("keep_aspect_ratio_policy", ["stretch"], "stretch") !== "stretch") throw node.unsupported("a kept aspect ratio");
    fill(node.known(sizesAt), (to, size) => [to / size, to]);
  } else fill(node.known(scalesAt), (scale, size) => [scale, Math.floor(size * scale)]);
  return result;
}

/** Every mode is linear in the picture and separable: one matrix per axis. */
function resize(node: NodeContext): Tensor {
  const x = node.real();
  const isOld = node.op === "Upsample" || node.opset < 11;
  const mode = node.choice("mode", ["nearest", "linear", "cubic"], "nearest");
  const coordinates = node.choice("coordinate_transformation_mode", COORDINATES, isOld ? "asymmetric" : "half_pixel");
  const rounding = node.choice("nearest_mode", ROUNDINGS, isOld ? "floor" : "round_prefer_floor");
  const all = targets(node, x);
  if (all.length !== x.shape.length) throw node.error(`expected ${x.shape.length} scales, got ${all.length}`);
  return all.reduce((y, [scale, to], i) => {
    const from = x.shape[i]!;
    if (!(scale > 0 && Number.isInteger(to) && to >= 1 && from >= 1)) throw node.error(`expected positive sizes, got ${to} from ${from} on axis ${i}`);
    if (from === to && scale === 1) return y;
    node.affordable([to, from]);
    const matrix = resizeMatrix({
      from,
      to,
      scale,
      mode,
      coordinates,
      rounding,
      cubicA: node.float("cubic_coeff_a", -0.75),
      isAntialiased: node.flag("antialias", false) && mode !== "nearest",
      excludesOutside: node.flag("exclude_outside", false),
    });
    return mapAxis(y, i, matrix);
  }, x);
}

export const resizeNodes: Readonly<Record<string, NodeMapping>> = { Resize: resize, Upsample: resize };
