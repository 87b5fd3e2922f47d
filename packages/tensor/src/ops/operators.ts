import type { Operator } from "../tensor.ts";
import { attentionOperator } from "./attention.ts";
import { conv2dOperator, convInputGradientOperator, convWeightGradientOperator, upsampleNearest2xOperator } from "./convolution.ts";
import {
  binaryOperators,
  castOperator,
  clampOperator,
  geluOperator,
  logicalNotOperator,
  sigmoidGateOperator,
  stopGradientOperator,
  unaryOperators,
  whereOperator,
} from "./elementwise.ts";
import { oneHotOperator, scatterAddRowsOperator, takeOperator } from "./indexing.ts";
import { constantOperator, inputOperator, weightOperator } from "./leaves.ts";
import { matmulOperator } from "./matmul.ts";
import { standardizeOperator } from "./normalization.ts";
import { argMaxOperator, logSumExpOperator, maxOperator, meanOperator, softmaxOperator, sumOperator } from "./reductions.ts";
import { segmentOperator } from "./segment.ts";
import { concatOperator, expandOperator, padOperator, reshapeOperator, sliceOperator, splitOperator, transposeOperator } from "./shaping.ts";

/** Every operator there is, for tests and documentation. Functions not listed here are compositions of these. */
export const operators: readonly Operator[] = [
  inputOperator,
  constantOperator,
  weightOperator,
  ...Object.values(unaryOperators),
  geluOperator,
  sigmoidGateOperator,
  clampOperator,
  ...Object.values(binaryOperators),
  logicalNotOperator,
  whereOperator,
  castOperator,
  stopGradientOperator,
  sumOperator,
  meanOperator,
  maxOperator,
  logSumExpOperator,
  softmaxOperator,
  argMaxOperator,
  reshapeOperator,
  expandOperator,
  transposeOperator,
  sliceOperator,
  padOperator,
  concatOperator,
  splitOperator,
  matmulOperator,
  conv2dOperator,
  convInputGradientOperator,
  convWeightGradientOperator,
  upsampleNearest2xOperator,
  standardizeOperator,
  attentionOperator,
  takeOperator,
  scatterAddRowsOperator,
  oneHotOperator,
  segmentOperator,
];
