import { attentionOperator } from "../ops/attention.ts";
import { binaryOperators as binary, castOperator, clampOperator, sigmoidGateOperator, unaryOperators as unary, whereOperator } from "../ops/elementwise.ts";
import { logSumExpOperator, maxOperator, softmaxOperator, sumOperator } from "../ops/reductions.ts";
import type { Shape } from "../shape.ts";
import type { Attributes, Operator } from "../tensor.ts";
import { type OperatorRow, real, row, truth } from "./operator-row.ts";
import { exactly } from "./samplers.ts";

const [inf, nan] = [Infinity, NaN];
const zeros = [0, -0];
const large = [1e30, -1e30, 80, -80];
const everything = [...zeros, ...large, inf, -inf, nan];

const one = (operator: Operator, values: readonly number[], attributes: Attributes = {}): OperatorRow =>
  row(operator, "special values", [real([values.length], exactly(...values))], attributes);

/** All pairs of the values. */
const pairs = (operator: Operator, values: readonly number[] = everything): OperatorRow =>
  row(operator, "special values", [real([values.length, 1], exactly(...values)), real([values.length], exactly(...values))]);

const shaped = (operator: Operator, title: string, shape: Shape, values: readonly number[], attributes: Attributes): OperatorRow =>
  row(operator, title, [real(shape, exactly(...values))], attributes);

/** Inputs at the edges of an operator's domain, where onnxruntime must agree with the reference bit for bit or nearly. */
export const specialRows: readonly OperatorRow[] = [
  one(unary.neg, everything),
  one(unary.abs, everything),
  one(unary.sign, [...zeros, ...large, inf, -inf]),
  one(unary.exp, everything),
  one(unary.log, [...everything, -1]),
  one(unary.sqrt, [...everything, -1]),
  one(unary.reciprocal, everything),
  one(unary.sin, [...zeros, inf, -inf, nan]),
  one(unary.cos, [...zeros, inf, -inf, nan]),
  one(unary.tanh, everything),
  one(unary.sigmoid, everything),
  one(unary.erf, everything),
  one(unary.softplus, everything),
  one(unary.relu, everything),
  one(sigmoidGateOperator, [...zeros, 80, -80, inf, nan], { alpha: 1 }),
  one(clampOperator, everything, { min: -1, max: 2 }),
  one(clampOperator, everything, { min: -inf, max: 2 }),
  pairs(binary.add),
  pairs(binary.sub),
  pairs(binary.mul),
  pairs(binary.div),
  pairs(binary.pow, [...zeros, 0.5, 1, -1, 2, -3, inf, -inf, nan]),
  pairs(binary.maximum),
  pairs(binary.minimum),
  pairs(binary.less),
  pairs(binary.lessEqual),
  pairs(binary.greater),
  pairs(binary.greaterEqual),
  pairs(binary.equal),
  row(whereOperator, "the other branch does not matter", [truth([2], exactly(0, 1)), real([2], exactly(nan, 1)), real([2], exactly(2, inf))]),
  one(castOperator, everything, { to: "bool" }),
  shaped(sumOperator, "infinities and NaN", [3, 2], [inf, -inf, inf, 1, nan, 1], { axes: [1], keepDims: false }),
  shaped(sumOperator, "of nothing", [2, 0], [], { axes: [1], keepDims: false }),
  shaped(maxOperator, "infinities", [3, 2], [inf, -inf, -inf, -inf, 0, -inf], { axes: [1], keepDims: false }),
  shaped(logSumExpOperator, "without overflow", [4, 2], [1e4, 1e4, -1e4, -1e4, 0, -inf, inf, 0], { axes: [1], keepDims: false }),
  shaped(logSumExpOperator, "of minus infinities", [2], [-inf, -inf], { axes: [0], keepDims: false }),
  shaped(softmaxOperator, "without overflow", [3, 2], [1e30, 1, -1e30, -1e30, 0, -inf], { axis: 1 }),
  shaped(softmaxOperator, "NaN", [2], [nan, 1], { axis: 0 }),
  row(attentionOperator, "large scores", [real([1, 2, 2], exactly(1e4, 0, 0, 1e4)), real([1, 2, 2], exactly(1e3, 0, 0, 1e3)), real([1, 2, 2])], {
    heads: 1,
    scale: 1,
    causal: false,
  }),
];
