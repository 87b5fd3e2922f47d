import { gradients } from "../gradient.ts";
import { add, mul } from "../ops/elementwise.ts";
import { constant, filled, input } from "../ops/leaves.ts";
import { sum } from "../ops/reductions.ts";
import { type Program, program } from "../program.ts";
import { normal, type RandomKey } from "../random.ts";
import { sizeOf } from "../shape.ts";
import { apply, type Tensor } from "../tensor.ts";
import type { OperatorRow } from "./operator-row.ts";

const keyOf = ({ operator, title }: OperatorRow, stream: string, ...indices: number[]): RandomKey => ({
  seed: 1,
  stream: `${operator.name} ${title} ${stream}`,
  indices,
});

/** The row's operator applied to inputs named x0, x1, … */
export function applyRow({ operator, inputs, attributes }: OperatorRow): { readonly xs: readonly Tensor[]; readonly ys: readonly Tensor[] } {
  const xs = inputs.map(({ shape, dtype }, i) => input(`x${i}`, shape, dtype));
  return { xs, ys: apply(operator, xs, attributes) };
}

/** Numbers for the row's inputs, rounded to float32 so that every backend starts from the same. */
export function sampleRow(row: OperatorRow): Record<string, Float64Array> {
  return Object.fromEntries(
    row.inputs.map(({ shape, sample }, i) => [`x${i}`, sample(keyOf(row, "input", i), sizeOf(shape)).map(Math.fround)]),
  );
}

/** A fixed random direction in the space of one input. */
export function directionOf(row: OperatorRow, index: number): Float64Array {
  return normal(keyOf(row, "direction", index), sizeOf(row.inputs[index]!.shape));
}

/** Σ weights·tensors with fixed random weights: a scalar whose gradient mixes all elements. */
function randomSum(tensors: readonly Tensor[], row: OperatorRow, stream: string): Tensor {
  const parts = tensors.map((tensor, i) => sum(mul(tensor, constant(normal(keyOf(row, stream, i), sizeOf(tensor.shape)), tensor.shape))));
  return parts.reduce((a, b) => add(a, b), filled(0, []));
}

const isReal = (tensor: Tensor): boolean => tensor.dtype === "float32";

/** A scalar function of the row's real inputs, its gradients `d0`, `d1`, …, and the indices of these inputs. */
export interface ScalarProgram {
  /** Output `loss`. */
  readonly loss: Program;
  /** Outputs `d<i>` for every differentiated input i. */
  readonly gradients: Program;
  readonly wrt: readonly number[];
}

function scalarProgram(loss: Tensor, xs: readonly Tensor[]): ScalarProgram {
  const wrt = xs.flatMap((x, i) => (isReal(x) ? [i] : []));
  const ports = xs.map((tensor, i) => ({ name: `x${i}`, tensor }));
  const found = gradients(loss, wrt.map((i) => xs[i]!));
  return {
    loss: program({ loss }, ports),
    gradients: program(Object.fromEntries(found.map((tensor, k) => [`d${wrt[k]}`, tensor])), ports),
    wrt,
  };
}

/** A random sum of the row's real outputs and its gradients: one program per output and, where there are several, one of all together. */
export function firstOrder(row: OperatorRow): readonly ScalarProgram[] {
  const { xs, ys } = applyRow(row);
  if (!xs.some(isReal) || !ys.some(isReal)) return [];
  const real = ys.filter(isReal);
  const selections = real.length === 1 ? [real] : [real, ...real.map((y) => [y])];
  return selections.map((selected) => scalarProgram(randomSum(selected, row, "cotangent"), xs));
}

/** A random sum of those gradients, and its gradients. Throws where a derivative's derivative does not exist. */
export function secondOrder(row: OperatorRow): readonly ScalarProgram[] {
  const { xs, ys } = applyRow(row);
  const wrt = xs.filter(isReal);
  if (wrt.length === 0 || !ys.some(isReal)) return [];
  const first = gradients(randomSum(ys.filter(isReal), row, "cotangent"), wrt);
  return [scalarProgram(randomSum(first, row, "second"), xs)];
}

/** Forward results `y0`, `y1`, … and gradients in one program. */
export function wholeProgram(row: OperatorRow): Program {
  const { xs, ys } = applyRow(row);
  const outputs: [string, Tensor][] = ys.map((tensor, i) => [`y${i}`, tensor]);
  const wrt = xs.flatMap((x, i) => (isReal(x) ? [i] : []));
  if (wrt.length > 0 && ys.some(isReal)) {
    const found = gradients(randomSum(ys.filter(isReal), row, "cotangent"), wrt.map((i) => xs[i]!));
    found.forEach((tensor, k) => outputs.push([`d${wrt[k]}`, tensor]));
  }
  return program(Object.fromEntries(outputs), xs.map((tensor, i) => ({ name: `x${i}`, tensor })));
}
