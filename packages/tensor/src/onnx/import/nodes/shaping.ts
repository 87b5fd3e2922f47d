import { add, cast, mul, where } from "../../../ops/elementwise.ts";
import { constant, filled } from "../../../ops/leaves.ts";
import { concat, expand, pad, reshape, slice, sliceAxis, split, transpose } from "../../../ops/shaping.ts";
import { broadcastShapes, type Shape, sizeOf } from "../../../shape.ts";
import type { Tensor } from "../../../tensor.ts";
import type { NodeContext, NodeMapping } from "../node-context.ts";
import { dtypeOfElementType } from "../stored-values.ts";
import { padWith, steppedAxis, takeAxis, wholes } from "./helpers.ts";

function reshapeTo(node: NodeContext): Tensor {
  const x = node.x(0);
  const wanted = node.intsOf(1);
  const keepsZero = node.flag("allowzero", false);
  const shape = wanted.map((n, i) => (n === 0 && !keepsZero ? x.shape[i] : n));
  const known = shape.filter((n) => n !== -1) as number[];
  const rest = sizeOf(x.shape) / sizeOf(known);
  const isValid = shape.every((n) => n !== undefined && n >= -1) && shape.length - known.length <= 1 && (known.length === shape.length || Number.isInteger(rest));
  if (!isValid) throw node.error(`expected a shape for the ${sizeOf(x.shape)} elements of [${x.shape}], got [${wanted}]`);
  return reshape(x, shape.map((n) => (n === -1 ? rest : n!)));
}

function flatten(node: NodeContext): Tensor {
  const { shape } = node.x();
  const given = node.int("axis", 1);
  const axis = given === shape.length ? given : node.axis(given, Math.max(1, shape.length));
  return reshape(node.x(), [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis))]);
}

/** Axes as attribute (before opset 13) or operand. */
const axesOf = (node: NodeContext): readonly number[] | undefined => node.ints("axes") ?? node.optionalInts(1);

function squeeze(node: NodeContext): Tensor {
  const { shape } = node.x();
  const given = axesOf(node);
  const axes = given ? node.axes(given, shape.length) : shape.flatMap((n, i) => (n === 1 ? [i] : []));
  if (axes.some((axis) => shape[axis] !== 1)) throw node.error(`expected size 1 on axes [${axes}], got [${shape}]`);
  return reshape(node.x(), shape.filter((_, i) => !axes.includes(i)));
}

function unsqueeze(node: NodeContext): Tensor {
  const given = axesOf(node);
  if (!given) throw node.error("expected axes, got none");
  const rest = [...node.x().shape];
  const rank = rest.length + given.length;
  const axes = node.axes(given, rank);
  return reshape(node.x(), Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : rest.shift()!)));
}

function expandTo(node: NodeContext): Tensor {
  const wanted = node.intsOf(1);
  return expand(node.x(), broadcastShapes(node.x().shape, wanted, "Expand"));
}

function permute(node: NodeContext): Tensor {
  const { shape } = node.x();
  return transpose(node.x(), node.ints("perm") ?? shape.map((_, i) => shape.length - 1 - i));
}

function join(node: NodeContext): Tensor {
  const parts = node.all();
  return concat(parts, node.axis(node.int("axis", 0), parts[0]!.shape.length));
}

function splitInto(node: NodeContext): readonly Tensor[] {
  const x = node.x();
  const axis = node.axis(node.int("axis", 0), x.shape.length);
  const size = x.shape[axis]!;
  const count = node.node.outputs.length;
  const parts = Math.ceil(size / count);
  const sizes = node.ints("split") ?? node.optionalInts(1) ?? Array.from({ length: count }, (_, i) => Math.max(0, Math.min(parts, size - i * parts)));
  if (sizes.length !== count || sizes.some((n) => n < 0) || sizes.reduce((a, b) => a + b, 0) !== size) {
    throw node.error(`expected ${count} sizes that add up to ${size}, got [${sizes}]`);
  }
  if (sizes.every((n) => n === sizes[0] && n > 0)) return split(x, axis, count);
  let start = 0;
  return sizes.map((n) => sliceAxis(x, axis, start, (start += n)));
}

function sliceOf(node: NodeContext): Tensor {
  const x = node.x();
  const rank = x.shape.length;
  const hasAttributes = node.opset < 10;
  const starts = hasAttributes ? (node.ints("starts") ?? []) : node.intsOf(1);
  const ends = hasAttributes ? (node.ints("ends") ?? []) : node.intsOf(2);
  const given = (hasAttributes ? node.ints("axes") : node.optionalInts(3)) ?? starts.map((_, i) => i);
  const steps = (hasAttributes ? undefined : node.optionalInts(4)) ?? starts.map(() => 1);
  if (ends.length !== starts.length || given.length !== starts.length || steps.length !== starts.length || steps.includes(0)) {
    throw node.error(`expected equally many starts, ends, axes and steps other than 0, got [${starts}], [${ends}], [${given}], [${steps}]`);
  }
  node.axes(given, rank);
  const [from, to] = [x.shape.map(() => 0), [...x.shape]];
  const stepped: { readonly axis: number; readonly first: number; readonly count: number; readonly step: number }[] = [];
  given.forEach((value, i) => {
    const axis = node.axis(value, rank);
    const size = x.shape[axis]!;
    const step = steps[i]!;
    const bound = (n: number, low: number, high: number): number => Math.min(Math.max(n < 0 ? n + size : n, low), high);
    const [first, last] = step > 0 ? [bound(starts[i]!, 0, size), bound(ends[i]!, 0, size)] : [bound(starts[i]!, 0, size - 1), bound(ends[i]!, -1, size - 1)];
    const count = Math.max(0, Math.ceil((last - first) / step));
    if (step === 1) [from[axis], to[axis]] = [Math.min(first, size), first + count];
    else stepped.push({ axis, first, count, step });
  });
  return stepped.reduce((y, { axis, first, count, step }) => steppedAxis(y, axis, first, count, step), slice(x, from, to));
}

/** Positions that a padded axis reads from. */
function paddedIndices(mode: "reflect" | "edge" | "wrap", size: number, before: number, after: number): number[] {
  const period = mode === "reflect" ? Math.max(1, 2 * (size - 1)) : size;
  return Array.from({ length: before + size + after }, (_, i) => {
    const position = i - before;
    if (mode === "edge") return Math.min(Math.max(position, 0), size - 1);
    const wrapped = ((position % period) + period) % period;
    return wrapped < size ? wrapped : period - wrapped;
  });
}

function padOf(node: NodeContext): Tensor {
  const x = node.x();
  const rank = x.shape.length;
  const pads = (node.opset < 11 ? node.ints("pads") : node.intsOf(1)) ?? [];
  const given = node.optionalInts(3);
  const axes = given ? given.map((axis) => node.axis(axis, rank)) : x.shape.map((_, i) => i);
  if (pads.length !== 2 * axes.length) throw node.error(`expected ${2 * axes.length} widths, got [${pads}]`);
  const [before, after] = [x.shape.map(() => 0), x.shape.map(() => 0)];
  axes.forEach((axis, i) => ([before[axis], after[axis]] = [pads[i]!, pads[i + axes.length]!]));
  // Negative widths cut.
  const cut = (widths: readonly number[]): number[] => widths.map((n) => Math.max(0, -n));
  const added = (widths: readonly number[]): number[] => widths.map((n) => Math.max(0, n));
  const ends = x.shape.map((n, i) => n - cut(after)[i]!);
  if (x.shape.some((_, i) => cut(before)[i]! > ends[i]!)) throw node.error(`expected to cut at most what is there, got [${pads}] of [${x.shape}]`);
  const inner = slice(x, cut(before), ends);
  const mode = node.choice("mode", ["constant", "reflect", "edge", "wrap"], "constant");
  const value = node.opset < 11 ? node.float("value", 0) : (node.optionalScalar(2) ?? 0);
  const [low, high] = [added(before), added(after)];
  node.affordable([low, high].flat().filter((n) => n > 0).length > 0 ? [Math.max(...low, ...high)] : []);
  if (mode === "constant") return value === 0 ? pad(inner, low, high) : padWith(inner, value, low, high);
  return inner.shape.reduce((padded, size, axis) => {
    if (low[axis] === 0 && high[axis] === 0) return padded;
    if (size === 0) throw node.error(`expected something to repeat on axis ${axis} of [${x.shape}]`);
    return takeAxis(padded, axis, wholes(paddedIndices(mode, size, low[axis]!, high[axis]!)));
  }, inner);
}

function tile(node: NodeContext): Tensor {
  const { shape } = node.x();
  const repeats = node.intsOf(1);
  if (repeats.length !== shape.length || repeats.some((n) => n < 0)) throw node.error(`expected ${shape.length} repeats, got [${repeats}]`);
  const apart = shape.flatMap((n, i) => (repeats[i] === 1 ? [n] : [1, n]));
  const repeated = shape.flatMap((n, i) => (repeats[i] === 1 ? [n] : [repeats[i]!, n]));
  return reshape(expand(reshape(node.x(), apart), repeated), shape.map((n, i) => n * repeats[i]!));
}

/** Bounds of Shape's `start` and `end`. */
function shapeOf(node: NodeContext): Tensor {
  const { shape } = node.x();
  const bound = (n: number): number => Math.min(Math.max(n < 0 ? n + shape.length : n, 0), shape.length);
  return wholes(shape.slice(bound(node.int("start", 0)), bound(node.int("end", shape.length))));
}

function constantOf(node: NodeContext): Tensor {
  const value = node.tensor("value");
  if (value) return value;
  const [float, floats, int, ints] = ["value_float", "value_floats", "value_int", "value_ints"].map((name) => node.node.attributes.has(name));
  if (float) return constant([node.float("value_float", 0)], []);
  if (int) return constant([node.int("value_int", 0)], [], "int32");
  if (floats) return constant(node.floats("value_floats")!, [node.floats("value_floats")!.length]);
  if (ints) return wholes(node.ints("value_ints")!);
  throw node.unsupported("a value that is neither a tensor nor numbers");
}

function filledWith(node: NodeContext): Tensor {
  const value = node.tensor("value") ?? filled(0, []);
  if (sizeOf(value.shape) !== 1) throw node.error(`expected one value, got [${value.shape}]`);
  return expand(reshape(value, []), checkedShape(node, node.intsOf(0)));
}

function checkedShape(node: NodeContext, shape: Shape): Shape {
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0)) throw node.error(`expected non-negative sizes, got [${shape}]`);
  return shape;
}

function range(node: NodeContext): Tensor {
  const [start, limit, delta] = [node.scalar(0), node.scalar(1), node.scalar(2)];
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  if (!Number.isFinite(count)) throw node.error(`expected a finite range, got ${start} to ${limit} by ${delta}`);
  node.affordable([count]);
  return constant(Float64Array.from({ length: count }, (_, i) => start + i * delta), [count], node.x().dtype);
}

/** Cells of a matrix below or above a diagonal, as a mask that broadcasts. */
function triangle(node: NodeContext): Tensor {
  const x = node.x();
  const [rows, columns] = [x.shape.at(-2), x.shape.at(-1)];
  if (rows === undefined || columns === undefined) throw node.error(`expected matrices, got [${x.shape}]`);
  node.affordable([rows, columns]);
  const diagonal = node.optionalScalar(1) ?? 0;
  const isUpper = node.flag("upper", true);
  const mask = constant(
    Float64Array.from({ length: rows * columns }, (_, i) => {
      const distance = (i % columns) - Math.floor(i / columns) - diagonal;
      return Number(isUpper ? distance >= 0 : distance <= 0);
    }),
    [rows, columns],
    "bool",
  );
  return x.dtype === "bool" ? cast(where(mask, cast(x, "int32"), 0), "bool") : where(mask, x, 0);
}

function eyeLike(node: NodeContext): Tensor {
  const [rows, columns, ...more] = node.x().shape as [number, number, ...number[]];
  if (columns === undefined || more.length > 0) throw node.error(`expected a matrix, got [${node.x().shape}]`);
  node.affordable([rows, columns]);
  const diagonal = node.int("k", 0);
  const dtype = node.node.attributes.has("dtype") ? dtypeOfElementType(node.int("dtype", 0)) : node.x().dtype;
  if (dtype === undefined) throw node.unsupported("this element type");
  return constant(Float64Array.from({ length: rows * columns }, (_, i) => Number((i % columns) - Math.floor(i / columns) === diagonal)), [rows, columns], dtype);
}

function depthToSpace(node: NodeContext): Tensor {
  const [b, c, h, w] = node.ranked(0, 4).shape as [number, number, number, number];
  const size = node.int("blocksize", 0);
  if (!(size > 0) || c % (size * size) !== 0) throw node.error(`expected channels that divide by the square of the block size ${size}, got [${node.x().shape}]`);
  const rest = c / (size * size);
  const isDepthFirst = node.choice("mode", ["DCR", "CRD"], "DCR") === "DCR";
  const apart = isDepthFirst ? reshape(node.x(), [b, size, size, rest, h, w]) : reshape(node.x(), [b, rest, size, size, h, w]);
  return reshape(transpose(apart, isDepthFirst ? [0, 3, 4, 1, 5, 2] : [0, 1, 4, 2, 5, 3]), [b, rest, h * size, w * size]);
}

function spaceToDepth(node: NodeContext): Tensor {
  const [b, c, h, w] = node.ranked(0, 4).shape as [number, number, number, number];
  const size = node.int("blocksize", 0);
  if (!(size > 0) || h % size !== 0 || w % size !== 0) throw node.error(`expected sides that divide by the block size ${size}, got [${node.x().shape}]`);
  return reshape(transpose(reshape(node.x(), [b, c, h / size, size, w / size, size]), [0, 3, 5, 1, 2, 4]), [b, c * size * size, h / size, w / size]);
}

/** (x − zero point)·scale, per tensor or per slice of an axis. */
function dequantize(node: NodeContext): Tensor {
  const [x, scale, zero] = [node.typed(0, "int32"), node.real(1), node.optional(2)];
  if (node.flag("block_size", false)) throw node.unsupported("blocks");
  const isPerAxis = sizeOf(scale.shape) !== 1;
  const shape = isPerAxis ? x.shape.map((n, i) => (i === node.axis(node.int("axis", 1), x.shape.length) ? n : 1)) : [];
  const centered = zero ? add(x, mul(reshape(zero, shape), -1)) : x;
  return mul(cast(centered, "float32"), reshape(scale, shape));
}

export const shapingNodes: Readonly<Record<string, NodeMapping>> = {
  Reshape: reshapeTo,
  Flatten: flatten,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Expand: expandTo,
  Transpose: permute,
  Concat: join,
  Split: splitInto,
  Slice: sliceOf,
  Pad: padOf,
  Tile: tile,
  Shape: shapeOf,
  Size: (node) => constant([sizeOf(node.x().shape)], [], "int32"),
  Constant: constantOf,
  ConstantOfShape: filledWith,
  Range: range,
  Trilu: triangle,
  EyeLike: eyeLike,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
  DequantizeLinear: dequantize,
};
