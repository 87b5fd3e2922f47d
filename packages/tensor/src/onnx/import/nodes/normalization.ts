import { add, div, mul, sqrt, square, sub } from "../../../ops/elementwise.ts";
import { standardizeOperator } from "../../../ops/normalization.ts";
import { mean } from "../../../ops/reductions.ts";
import { reshape } from "../../../ops/shaping.ts";
import { sizeOf } from "../../../shape.ts";
import { apply, type Tensor } from "../../../tensor.ts";
import type { NodeContext, NodeMapping } from "../node-context.ts";

/** Standardised over everything from an axis on, with mean and reciprocal deviation of size 1 there. */
function standardizeFrom(x: Tensor, axis: number, epsilon: number): readonly [Tensor, Tensor, Tensor] {
  const [outer, inner] = [x.shape.slice(0, axis), x.shape.slice(axis)];
  const [y, center, rate] = apply(standardizeOperator, [reshape(x, [...outer, sizeOf(inner)])], { epsilon }) as [Tensor, Tensor, Tensor];
  const kept = [...outer, ...inner.map(() => 1)];
  return [reshape(y, x.shape), reshape(center, kept), reshape(rate, kept)];
}

function layerNormalization(node: NodeContext): readonly Tensor[] {
  const x = node.real();
  const axis = node.axis(node.int("axis", -1), x.shape.length);
  const [y, center, rate] = standardizeFrom(x, axis, node.float("epsilon", 1e-5));
  const scaled = mul(y, node.real(1));
  return [node.optional(2) ? add(scaled, node.real(2)) : scaled, center, rate];
}

function rmsNormalization(node: NodeContext): Tensor {
  const x = node.real();
  const axis = node.axis(node.int("axis", -1), x.shape.length);
  const axes = x.shape.flatMap((_, i) => (i < axis ? [] : [i]));
  return mul(div(x, sqrt(add(mean(square(x), axes, true), node.float("epsilon", 1e-5)))), node.real(1));
}

/** One number per channel, to meet [B,C,…]. */
function perChannel(node: NodeContext, i: number, x: Tensor): Tensor {
  const values = node.ranked(i, 1);
  if (values.shape[0] !== x.shape[1]) throw node.error(`expected ${x.shape[1]} numbers as operand ${i}, got [${values.shape}]`);
  return reshape(values, [1, values.shape[0]!, ...x.shape.slice(2).map(() => 1)]);
}

/** With the stored mean and variance: one factor and one summand per channel. */
function batchNormalization(node: NodeContext): Tensor {
  const x = node.ranked(0, 2, 3, 4, 5);
  if (node.flag("training_mode", false)) throw node.unsupported("training mode");
  const [scale, shift, center, variance] = [1, 2, 3, 4].map((i) => perChannel(node, i, x)) as [Tensor, Tensor, Tensor, Tensor];
  const factor = div(scale, sqrt(add(variance, node.float("epsilon", 1e-5))));
  return add(mul(x, factor), sub(shift, mul(center, factor)));
}

/** Standardised per picture and group of channels. */
function groupStandardized(node: NodeContext, x: Tensor, groups: number): Tensor {
  const [batch, channels] = x.shape as [number, number];
  if (!(groups >= 1) || channels % groups !== 0) throw node.error(`expected channels that divide by ${groups} groups, got [${x.shape}]`);
  return reshape(standardizeFrom(reshape(x, [batch, groups, sizeOf(x.shape.slice(1)) / groups]), 2, node.float("epsilon", 1e-5))[0], x.shape);
}

function groupNormalization(node: NodeContext): Tensor {
  const x = node.ranked(0, 3, 4, 5);
  const groups = node.int("num_groups", 0);
  const y = groupStandardized(node, x, groups);
  // Before opset 21 factor and summand belong to groups.
  if (node.opset >= 21) return add(mul(y, perChannel(node, 1, x)), perChannel(node, 2, x));
  const grouped = reshape(y, [x.shape[0]!, groups, sizeOf(x.shape.slice(1)) / groups]);
  const [scale, shift] = [1, 2].map((i) => reshape(node.ranked(i, 1), [1, groups, 1])) as [Tensor, Tensor];
  return reshape(add(mul(grouped, scale), shift), x.shape);
}

export const normalizationNodes: Readonly<Record<string, NodeMapping>> = {
  LayerNormalization: layerNormalization,
  RMSNormalization: rmsNormalization,
  BatchNormalization: batchNormalization,
  InstanceNormalization: (node) => {
    const x = node.ranked(0, 3, 4, 5);
    return add(mul(groupStandardized(node, x, x.shape[1]!), perChannel(node, 1, x)), perChannel(node, 2, x));
  },
  GroupNormalization: groupNormalization,
};
