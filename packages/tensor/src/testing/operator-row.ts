import type { DType, Shape } from "../shape.ts";
import type { Attributes, Operator } from "../tensor.ts";
import { anyReal, type Sampler } from "./samplers.ts";

export interface RowInput {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly sample: Sampler;
}

/** One application of an operator that the tests try. The first row of an operator is its example in docs/operators.md. */
export interface OperatorRow {
  readonly operator: Operator;
  readonly inputs: readonly RowInput[];
  readonly attributes: Attributes;
  /** What this row is about. */
  readonly title: string;
}

/** A float32 input. */
export const real = (shape: Shape, sample: Sampler = anyReal): RowInput => ({ shape, dtype: "float32", sample });
/** An int32 input. */
export const whole = (shape: Shape, sample: Sampler): RowInput => ({ shape, dtype: "int32", sample });
/** A bool input. */
export const truth = (shape: Shape, sample: Sampler): RowInput => ({ shape, dtype: "bool", sample });

export const row = (operator: Operator, title: string, inputs: readonly RowInput[], attributes: Attributes = {}): OperatorRow => ({
  operator,
  title,
  inputs,
  attributes,
});
