import { attentionOperator } from "../ops/attention.ts";
import { binaryOperators as binary, castOperator, clampOperator, geluOperator, logicalNotOperator, sigmoidGateOperator, stopGradientOperator, unaryOperators as unary, whereOperator } from "../ops/elementwise.ts";
import { oneHotOperator, scatterAddRowsOperator, takeOperator } from "../ops/indexing.ts";
import { constantOperator } from "../ops/leaves.ts";
import { matmulOperator } from "../ops/matmul.ts";
import { standardizeOperator } from "../ops/normalization.ts";
import { argMaxOperator, logSumExpOperator, maxOperator, meanOperator, softmaxOperator, sumOperator } from "../ops/reductions.ts";
import { concatOperator, expandOperator, padOperator, reshapeOperator, sliceOperator, splitOperator, transposeOperator } from "../ops/shaping.ts";
import type { Operator } from "../tensor.ts";
import { convolutionRows } from "./convolution-rows.ts";
import { type OperatorRow, real, row, truth, whole } from "./operator-row.ts";
import { anyReal, between, distinct, exactly, integers, nonZero, truthValues } from "./samplers.ts";

const positive = between(0.4, 3);

const unaryRows: OperatorRow[] = [
  row(unary.neg, "any number", [real([2, 3])]),
  row(unary.abs, "away from 0", [real([2, 3], nonZero)]),
  row(unary.sign, "away from 0", [real([2, 3], nonZero)]),
  row(unary.exp, "any number", [real([2, 3])]),
  row(unary.log, "positive numbers", [real([2, 3], positive)]),
  row(unary.sqrt, "positive numbers", [real([2, 3], positive)]),
  row(unary.reciprocal, "away from 0", [real([2, 3], nonZero)]),
  row(unary.sin, "any number", [real([2, 3])]),
  row(unary.cos, "any number", [real([2, 3])]),
  row(unary.tanh, "any number", [real([2, 3])]),
  row(unary.sigmoid, "any number", [real([2, 3])]),
  row(unary.erf, "both branches of the series", [real([4, 6], between(-4, 4))]),
  row(unary.softplus, "any number", [real([2, 3])]),
  row(unary.softplus, "a scalar", [real([])]),
  row(unary.relu, "away from 0", [real([2, 3], nonZero)]),
  row(geluOperator, "any number", [real([4, 5])]),
  row(sigmoidGateOperator, "SiLU", [real([2, 3])], { alpha: 1 }),
  row(sigmoidGateOperator, "quick GELU", [real([2, 3])], { alpha: 1.702 }),
  row(clampOperator, "both bounds", [real([3, 4], distinct)], { min: -0.5, max: 0.72 }),
  row(clampOperator, "upper bound", [real([3, 4], distinct)], { min: -Infinity, max: 0.72 }),
  row(clampOperator, "lower bound", [real([3, 4], distinct)], { min: -0.5, max: Infinity }),
];

/** Equal shapes, and broadcasting on both sides at once. */
function binaryRows(operator: Operator, sample = anyReal, second = sample): OperatorRow[] {
  return [
    row(operator, "equal shapes", [real([2, 3], sample), real([2, 3], second)]),
    row(operator, "both sides broadcast", [real([2, 1, 3], sample), real([4, 1], second)]),
    row(operator, "a scalar", [real([], sample), real([2, 2], second)]),
  ];
}

const small = integers(4);
const logic = [truth([2, 4], truthValues), truth([4], truthValues)];

const broadcastRows: OperatorRow[] = [
  ...binaryRows(binary.add),
  row(binary.add, "integers", [whole([2, 3], small), whole([3], small)]),
  ...binaryRows(binary.sub),
  row(binary.sub, "integers", [whole([2, 3], small), whole([3], small)]),
  ...binaryRows(binary.mul),
  row(binary.mul, "integers", [whole([2, 3], small), whole([3], small)]),
  ...binaryRows(binary.div, anyReal, nonZero),
  row(binary.div, "integers truncate towards zero", [whole([4], exactly(7, -7, 7, -7)), whole([4], exactly(2, 2, -2, -2))]),
  ...binaryRows(binary.pow, positive, anyReal),
  ...binaryRows(binary.maximum),
  row(binary.maximum, "integers", [whole([2, 3], small), whole([3], small)]),
  ...binaryRows(binary.minimum),
  row(binary.minimum, "integers", [whole([2, 3], small), whole([3], small)]),
  ...[binary.less, binary.lessEqual, binary.greater, binary.greaterEqual, binary.equal].flatMap((operator) => [
    row(operator, "numbers, some equal", [real([3, 4], small), real([4], small)]),
    row(operator, "integers", [whole([3, 4], small), whole([4], small)]),
  ]),
  row(binary.logicalAnd, "broadcasting", logic),
  row(binary.logicalOr, "broadcasting", logic),
  row(logicalNotOperator, "any truth value", [truth([2, 4], truthValues)]),
  row(whereOperator, "equal shapes", [truth([2, 4], truthValues), real([2, 4]), real([2, 4])]),
  row(whereOperator, "everything broadcasts", [truth([3, 1], truthValues), real([2, 1, 1]), real([4])]),
  row(whereOperator, "integers", [truth([4], truthValues), whole([4], small), whole([], small)]),
  row(castOperator, "int32 to float32", [whole([5], exactly(-2, -1, 0, 1, 70000))], { to: "float32" }),
  row(castOperator, "float32 to int32", [real([6], exactly(-2.7, -0.5, 0, 0.9, 1.5, 1e6))], { to: "int32" }),
  row(castOperator, "float32 to bool", [real([5], exactly(-0.5, 0, -0, 1, 1e-30))], { to: "bool" }),
  row(castOperator, "bool to float32", [truth([4], truthValues)], { to: "float32" }),
  row(castOperator, "bool to int32", [truth([4], truthValues)], { to: "int32" }),
  row(castOperator, "int32 to bool", [whole([3], exactly(-1, 0, 2))], { to: "bool" }),
  row(stopGradientOperator, "any number", [real([2, 3])]),
];

const reductionRows: OperatorRow[] = [
  ...[sumOperator, meanOperator, logSumExpOperator, maxOperator].flatMap((operator) => [
    row(operator, "last axis", [real([2, 5], distinct)], { axes: [1], keepDims: false }),
    row(operator, "outer axes, kept", [real([2, 3, 4], distinct)], { axes: [0, 2], keepDims: true }),
    row(operator, "everything", [real([2, 3], distinct)], { axes: [0, 1], keepDims: false }),
    row(operator, "middle axis", [real([2, 3, 2], distinct)], { axes: [1], keepDims: false }),
  ]),
  row(sumOperator, "many rows over the first axis", [real([70, 17])], { axes: [0], keepDims: false }),
  row(sumOperator, "many rows over two axes, kept", [real([8, 9, 16])], { axes: [0, 1], keepDims: true }),
  row(softmaxOperator, "last axis", [real([2, 5])], { axis: 1 }),
  row(softmaxOperator, "middle axis", [real([2, 3, 2])], { axis: 1 }),
  row(argMaxOperator, "last axis", [real([3, 5], distinct)], { axis: 1 }),
  row(argMaxOperator, "first axis", [real([3, 5], distinct)], { axis: 0 }),
  row(argMaxOperator, "ties: the first", [real([6], exactly(1, 3, 2, 3, 0, 3))], { axis: 0 }),
];

const shapingRows: OperatorRow[] = [
  row(reshapeOperator, "axes merged", [real([2, 3, 4])], { shape: [6, 4] }),
  row(reshapeOperator, "to a scalar", [real([1, 1])], { shape: [] }),
  row(reshapeOperator, "nothing", [real([0, 3])], { shape: [3, 0] }),
  row(reshapeOperator, "truth values", [truth([4], truthValues)], { shape: [2, 2] }),
  row(expandOperator, "size 1 and new axes", [real([2, 1])], { shape: [3, 2, 4] }),
  row(expandOperator, "a scalar", [real([])], { shape: [2, 3] }),
  row(expandOperator, "integers", [whole([1, 3], small)], { shape: [2, 3] }),
  row(transposeOperator, "two axes", [real([2, 3])], { permutation: [1, 0] }),
  row(transposeOperator, "three axes in a cycle", [real([2, 3, 4])], { permutation: [2, 0, 1] }),
  row(transposeOperator, "integers", [whole([2, 3], small)], { permutation: [1, 0] }),
  row(sliceOperator, "inside", [real([4, 5])], { starts: [1, 0], ends: [3, 4], flips: [0, 0] }),
  row(sliceOperator, "reversed whole axis", [real([3, 4])], { starts: [0, 0], ends: [3, 4], flips: [1, 0] }),
  row(sliceOperator, "reversed inside", [real([4, 5])], { starts: [1, 1], ends: [4, 4], flips: [1, 1] }),
  row(sliceOperator, "truth values", [truth([4], truthValues)], { starts: [1], ends: [3], flips: [0] }),
  row(sliceOperator, "nothing, reversed", [real([4])], { starts: [0], ends: [0], flips: [1] }),
  row(padOperator, "unequal sides", [real([2, 3])], { before: [1, 0], after: [0, 2] }),
  row(padOperator, "integers", [whole([2], small)], { before: [1], after: [2] }),
  row(concatOperator, "last axis, unequal parts", [real([2, 3]), real([2, 1]), real([2, 2])], { axis: 1 }),
  row(concatOperator, "first axis", [real([2, 3]), real([1, 3])], { axis: 0 }),
  row(splitOperator, "last axis", [real([2, 6])], { axis: 1, parts: 3 }),
  row(splitOperator, "middle axis", [real([2, 4, 3])], { axis: 1, parts: 2 }),
  row(splitOperator, "integers", [whole([4], small)], { axis: 0, parts: 2 }),
  row(concatOperator, "truth values", [truth([2], truthValues), truth([3], truthValues)], { axis: 0 }),
];

const matmulRows: OperatorRow[] = [false, true].flatMap((transposeA) =>
  [false, true].flatMap((transposeB) =>
    [1, -0.5].flatMap((alpha) => {
      const [left, right] = [transposeA ? [4, 3] : [3, 4], transposeB ? [5, 4] : [4, 5]];
      const options = { transposeA, transposeB, alpha };
      const name = `${transposeA ? "Aᵀ" : "A"}·${transposeB ? "Bᵀ" : "B"}, alpha ${alpha}`;
      return [
        row(matmulOperator, name, [real(left), real(right)], options),
        row(matmulOperator, `${name}, equal batches`, [real([2, ...left]), real([2, ...right])], options),
        row(matmulOperator, `${name}, batches broadcast`, [real([2, 1, ...left]), real([3, ...right])], options),
        row(matmulOperator, `${name}, one matrix left`, [real(left), real([2, ...right])], options),
      ];
    }),
  ),
);

const attentionRows: OperatorRow[] = [
  row(attentionOperator, "one head", [real([2, 4, 3]), real([2, 4, 3]), real([2, 4, 3])], { heads: 1, scale: 0.6, causal: false }),
  row(attentionOperator, "fewer keys than queries", [real([2, 5, 8]), real([2, 3, 8]), real([2, 3, 8])], { heads: 2, scale: 0.5, causal: false }),
  row(attentionOperator, "more keys than queries", [real([1, 2, 6]), real([1, 7, 6]), real([1, 7, 6])], { heads: 3, scale: 0.7, causal: false }),
  row(attentionOperator, "many keys", [real([1, 2, 4]), real([1, 515, 4]), real([1, 515, 4])], { heads: 2, scale: 0.7, causal: false }),
  row(attentionOperator, "causal", [real([2, 5, 8]), real([2, 5, 8]), real([2, 5, 8])], { heads: 2, scale: 0.5, causal: true }),
  row(attentionOperator, "gradient head by head", [real([2, 4, 6]), real([2, 3, 6]), real([2, 3, 6])], { heads: 3, scale: 0.7, causal: false, chunkBytes: 1 }),
  row(attentionOperator, "causal, gradient two heads at a time", [real([1, 3, 8]), real([1, 3, 8]), real([1, 3, 8])], {
    heads: 4,
    scale: 0.7,
    causal: true,
    chunkBytes: 3 * 3 * 4 * 3,
  }),
];

const indexingRows: OperatorRow[] = [
  row(takeOperator, "repeated ids", [real([5, 3]), whole([2, 4], integers(3))], {}),
  row(takeOperator, "rows of two axes", [real([3, 2, 2]), whole([4], integers(3))], {}),
  row(takeOperator, "a vector by one id", [real([4]), whole([], integers(4))], {}),
  row(scatterAddRowsOperator, "repeated ids", [whole([6], integers(3)), real([6, 2])], { depth: 5 }),
  row(oneHotOperator, "ids of two axes, some outside", [whole([2, 3], integers(6))], { depth: 4 }),
];

/** Every way of using an operator that the tests try; the leaves `input` and `weight` and segments have tests of their own. */
export const operatorTable: readonly OperatorRow[] = [
  row(constantOperator, "numbers", [], { data: Float64Array.of(1, -2.5, 1e-3, 7), shape: [2, 2], dtype: "float32" }),
  row(constantOperator, "integers", [], { data: Float64Array.of(1, -2, 3), shape: [3], dtype: "int32" }),
  row(constantOperator, "truth values", [], { data: Float64Array.of(1, 0), shape: [2], dtype: "bool" }),
  ...unaryRows,
  ...broadcastRows,
  ...reductionRows,
  ...shapingRows,
  ...matmulRows,
  ...convolutionRows,
  row(standardizeOperator, "rows", [real([3, 6])], { epsilon: 1e-2 }),
  row(standardizeOperator, "three axes", [real([2, 2, 5])], { epsilon: 1e-5 }),
  ...attentionRows,
  ...indexingRows,
];
