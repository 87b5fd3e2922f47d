import { abs, add, cast, div, exp, log, mul, neg, sqrt, square, sub } from "../../../ops/elementwise.ts";
import { argMax, logSumExp, max, mean, softmax, sum } from "../../../ops/reductions.ts";
import { flip, reshape, sliceAxis } from "../../../ops/shaping.ts";
import { sizeOf } from "../../../shape.ts";
import type { Tensor } from "../../../tensor.ts";
import type { NodeContext, NodeMapping } from "../node-context.ts";
import { mapAxis, viaReal } from "./helpers.ts";

type Reduce = (x: Tensor, axes: readonly number[], keepDims: boolean) => Tensor;

/** Axes as attribute (before opset 18, for ReduceSum 13) or operand; all when none are given. */
function reduction(reduce: Reduce): NodeMapping {
  return (node) => {
    const x = node.x();
    const given = node.ints("axes") ?? node.optionalInts(1);
    const isNothing = given === undefined || given.length === 0;
    const isIdle = node.flag("noop_with_empty_axes", false);
    if (isNothing && isIdle) return x;
    const axes = isNothing ? x.shape.map((_, i) => i) : node.axes(given, x.shape.length);
    return viaReal(x, (real) => reduce(real, axes, node.flag("keepdims", true)));
  };
}

/** A product is multiplied out: its logarithm would lose signs and zeros. */
const MOST_FACTORS = 64;

function product(node: NodeContext): Reduce {
  return (x, axes, keepDims) =>
    axes.reduceRight((y, axis) => {
      const size = y.shape[axis]!;
      if (size < 1 || size > MOST_FACTORS) throw node.unsupported(`a product of ${size} factors (supported: 1 to ${MOST_FACTORS})`);
      const kept = Array.from({ length: size }, (_, i) => sliceAxis(y, axis, i, i + 1)).reduce((a, b) => mul(a, b));
      return keepDims ? kept : reshape(kept, kept.shape.toSpliced(axis, 1));
    }, x);
}

/** Softmax over one axis since opset 13; before, over everything from the axis on. */
function alongAxis(fn: (x: Tensor, axis: number) => Tensor): NodeMapping {
  return (node) => {
    const x = node.real();
    if (node.opset >= 13) return fn(x, node.axis(node.int("axis", -1), x.shape.length));
    const axis = node.axis(node.int("axis", 1), x.shape.length);
    return reshape(fn(reshape(x, [sizeOf(x.shape.slice(0, axis)), sizeOf(x.shape.slice(axis))]), 1), x.shape);
  };
}

function extreme(node: NodeContext, isLargest: boolean): Tensor {
  const raw = node.x();
  const axis = node.axis(node.int("axis", 0), raw.shape.length);
  const real = cast(raw, "float32");
  const x = isLargest ? real : neg(real);
  const isLast = node.flag("select_last_index", false);
  const index = isLast ? sub(x.shape[axis]! - 1, argMax(flip(x, [axis]), axis)) : argMax(x, axis);
  return node.flag("keepdims", true) ? reshape(index, x.shape.with(axis, 1)) : index;
}

function cumulativeSum(node: NodeContext): Tensor {
  const raw = node.x();
  const axis = node.axis(node.scalar(1), raw.shape.length);
  const size = raw.shape[axis]!;
  node.affordable([size, size]);
  const [isExclusive, isReversed] = [node.flag("exclusive", false), node.flag("reverse", false)];
  const data = Float64Array.from({ length: size * size }, (_, i) => {
    const distance = (Math.floor(i / size) - (i % size)) * (isReversed ? -1 : 1);
    return Number(isExclusive ? distance > 0 : distance >= 0);
  });
  return viaReal(raw, (x) => mapAxis(x, axis, { to: size, from: size, data }));
}

/** x/(bias + alpha/size·Σ of squares over neighbouring channels)^beta. Source: Krizhevsky et al. 2012, §3.3. */
function localResponse(node: NodeContext): Tensor {
  const x = node.ranked(0, 3, 4, 5);
  const [channels, size] = [x.shape[1]!, node.int("size", 1)];
  node.affordable([channels, channels]);
  const [before, after] = [Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2)];
  const data = Float64Array.from({ length: channels * channels }, (_, i) => {
    const distance = (i % channels) - Math.floor(i / channels);
    return Number(distance >= -before && distance <= after);
  });
  const total = mapAxis(square(x), 1, { to: channels, from: channels, data });
  const scale = add(node.float("bias", 1), mul(node.float("alpha", 1e-4) / size, total));
  return mul(x, exp(mul(-node.float("beta", 0.75), log(scale))));
}

export const reductionNodes: Readonly<Record<string, NodeMapping>> = {
  ReduceSum: reduction((x, axes, keep) => sum(x, axes, keep)),
  ReduceMean: reduction((x, axes, keep) => mean(x, axes, keep)),
  ReduceMax: reduction((x, axes, keep) => max(x, axes, keep)),
  ReduceMin: reduction((x, axes, keep) => neg(max(neg(x), axes, keep))),
  ReduceL1: reduction((x, axes, keep) => sum(abs(x), axes, keep)),
  ReduceL2: reduction((x, axes, keep) => sqrt(sum(square(x), axes, keep))),
  ReduceSumSquare: reduction((x, axes, keep) => sum(square(x), axes, keep)),
  ReduceLogSum: reduction((x, axes, keep) => log(sum(x, axes, keep))),
  ReduceLogSumExp: reduction((x, axes, keep) => logSumExp(x, axes, keep)),
  ReduceProd: (node) => reduction(product(node))(node),
  Softmax: alongAxis(softmax),
  LogSoftmax: alongAxis((x, axis) => sub(x, logSumExp(x, axis, true))),
  ArgMax: (node) => extreme(node, true),
  ArgMin: (node) => extreme(node, false),
  CumSum: cumulativeSum,
  LRN: localResponse,
  LpNormalization: (node) => {
    const x = node.real();
    const axis = node.axis(node.int("axis", -1), x.shape.length);
    const order = node.int("p", 2);
    if (order !== 1 && order !== 2) throw node.unsupported(`p ${order} (supported: 1, 2)`);
    return div(x, order === 1 ? sum(abs(x), axis, true) : sqrt(sum(square(x), axis, true)));
  },
};
