import { maximum, sqrt, square } from "../../../ops/elementwise.ts";
import { max, mean, sum } from "../../../ops/reductions.ts";
import type { Tensor } from "../../../tensor.ts";
import type { NodeContext, NodeMapping } from "../node-context.ts";
import { type AxisMatrix, mapAxis, padWith, stridedAxis } from "./helpers.ts";
import { poolingWindows, type Window } from "./windows.ts";

/** Largest value per window, axis after axis: k comparisons per axis instead of k² per window, and their derivative with them. */
function maxPool(node: NodeContext): Tensor {
  const x = node.ranked(0, 3, 4, 5);
  if (node.hasOutput(1)) throw node.unsupported("the indices as output");
  return poolingWindows(node, x.shape.slice(2)).reduce((y, { kernel, stride, dilation, before, size, count }, i) => {
    const axis = i + 2;
    const needed = (count - 1) * stride + (kernel - 1) * dilation + 1;
    const none = y.shape.map(() => 0);
    const padded = padWith(y, -Infinity, none.with(axis, before), none.with(axis, Math.max(0, needed - size - before)));
    return Array.from({ length: kernel }, (_, k) => stridedAxis(padded, axis, k * dilation, count, stride)).reduce((a, b) => maximum(a, b));
  }, x);
}

/** Means of windows along an axis as a matrix. Positions in the padding count or not; those beyond it, which only rounding up reaches, never do. */
function averages({ size, kernel, stride, dilation, before, after, count }: Window, countsPadding: boolean): AxisMatrix {
  const data = new Float64Array(count * size);
  for (let i = 0; i < count; i++) {
    const positions = Array.from({ length: kernel }, (_, k) => i * stride + k * dilation - before);
    const inside = positions.filter((p) => p >= 0 && p < size);
    const counted = countsPadding ? positions.filter((p) => p < size + after).length : inside.length;
    for (const p of inside) data[i * size + p] = 1 / counted;
  }
  return { to: count, from: size, data };
}

function averagePool(node: NodeContext): Tensor {
  const x = node.ranked(0, 3, 4, 5);
  const countsPadding = node.flag("count_include_pad", false);
  return poolingWindows(node, x.shape.slice(2)).reduce((y, window, i) => {
    node.affordable([window.count, window.size]);
    return mapAxis(y, i + 2, averages(window, countsPadding));
  }, x);
}

const spatial = (node: NodeContext): readonly number[] => {
  const { shape } = node.ranked(0, 3, 4, 5);
  return shape.flatMap((_, i) => (i < 2 ? [] : [i]));
};

export const poolingNodes: Readonly<Record<string, NodeMapping>> = {
  MaxPool: maxPool,
  AveragePool: averagePool,
  GlobalAveragePool: (node) => mean(node.real(), spatial(node), true),
  GlobalMaxPool: (node) => max(node.real(), spatial(node), true),
  GlobalLpPool: (node) => {
    if (node.int("p", 2) !== 2) throw node.unsupported(`p ${node.int("p", 2)} (supported: 2)`);
    return sqrt(sum(square(node.real()), spatial(node), true));
  },
};
