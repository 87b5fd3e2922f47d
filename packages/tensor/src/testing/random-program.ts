import fc from "fast-check";
import { gradients } from "../gradient.ts";
import { attention } from "../ops/attention.ts";
import { add, clamp, div, exp, maximum, mul, neg, sigmoid, silu, stopGradient, sub, tanh, where, greater } from "../ops/elementwise.ts";
import { constant, filled, input } from "../ops/leaves.ts";
import { matmul } from "../ops/matmul.ts";
import { layerNorm, standardize } from "../ops/normalization.ts";
import { logSumExp, mean, softmax, sum } from "../ops/reductions.ts";
import { recompute } from "../ops/segment.ts";
import { concat, expand, flip, pad, reshape, sliceAxis, split, transpose } from "../ops/shaping.ts";
import { type Program, program } from "../program.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** Every tensor is [3,4] or broadcasts to it, so that any two can meet; results stay bounded. */
const SHAPE = [3, 4] as const;
const full = (x: Tensor): Tensor => expand(x, SHAPE);

/** One step: two earlier tensors → a new one. Chosen to meet the rewrites: neutral elements, double negations, chains of reshapes. */
const steps: readonly ((a: Tensor, b: Tensor) => Tensor)[] = [
  (a, b) => add(a, b),
  (a, b) => sub(a, b),
  (a, b) => tanh(mul(a, b)),
  (a, b) => div(a, add(exp(neg(tanh(b))), 1)),
  (a, b) => maximum(a, b),
  (a) => add(a, 0),
  (a) => sub(a, filled(0, SHAPE)),
  (a) => mul(1, a),
  (a) => mul(mul(a, 0.5), 3),
  (a) => mul(mul(0.25, full(a)), filled(2, SHAPE)),
  (a) => div(a, 1),
  (a) => neg(neg(a)),
  (a) => sigmoid(a),
  (a) => silu(a),
  (a) => stopGradient(a),
  (a) => clamp(a, -0.5, 1.5),
  (a, b) => add(full(a), b),
  (a, b) => tanh(mul(b, full(a))),
  (a) => sum(full(a), 0),
  (a) => mean(full(a), 1, true),
  (a) => logSumExp(full(a), [0, 1]),
  (a) => softmax(full(a), 0),
  (a) => reshape(reshape(full(a), [2, 6]), SHAPE),
  (a) => transpose(transpose(full(a), [1, 0]), [1, 0]),
  (a) => reshape(transpose(reshape(transpose(full(a), [1, 0]), [2, 2, 3]), [2, 0, 1]), SHAPE),
  (a, b) => mean(tanh(mul(matmul(full(a), full(b), { transposeB: true, alpha: 2 }), constant([0.5], []))), 1, true),
  (a, b) => {
    const product = matmul(full(a), full(b), { transposeA: true });
    return sum(tanh(add(mul(product, 0.5), product)), 0);
  },
  (a, b) => sliceAxis(concat([full(a), full(b)], 0), 0, 1, 4),
  (a, b) => {
    const [left, , right] = split(concat([full(a), full(b), full(a)], 1), 1, 3) as [Tensor, Tensor, Tensor];
    return sub(mul(left, 2), right);
  },
  (a) => sliceAxis(sliceAxis(pad(flip(full(a), [1]), [1, 0], [0, 1]), 1, 1, 5), 0, 0, 3),
  (a) => standardize(full(a), 0.5),
  (a, b) => layerNorm(full(a), sum(full(b), 0), constant([1, 0, 0, 2], [4]), 0.5),
  (a, b) => where(greater(a, 0.3), a, mul(b, 0.5)),
  (a, b) => {
    const [x, y] = [a, b].map((t) => reshape(full(t), [1, 3, 4])) as [Tensor, Tensor];
    return reshape(attention(x, y, y, { heads: 2 }), SHAPE);
  },
  (a, b) => recompute((x, y) => [tanh(mul(full(x), add(y, 0))), x], [a, b])[0]!,
];

/** Which steps to take on which operands: what `randomProgram` is made from, short enough to read in a failure. */
export const randomChoices: fc.Arbitrary<readonly (readonly [number, number, number])[]> = fc.array(
  fc.tuple(fc.nat(steps.length - 1), fc.nat(30), fc.nat(30)),
  { minLength: 1, maxLength: 12 },
);

/** The chosen steps over three inputs and a few constants, with the gradients of the last two values. */
export function randomProgram(choices: readonly (readonly [number, number, number])[]): Program {
  const inputs = [input("a", SHAPE), input("b", [4]), input("c", [])];
  const values: Tensor[] = [...inputs, constant([0], []), constant([1, 1, 1, 1], [4]), filled(0.5, SHAPE)];
  for (const [step, i, j] of choices) {
    // Recent values are likelier operands, so that the programs grow deep.
    const pick = (n: number): Tensor => (n % 3 === 0 ? values[n % values.length]! : values[values.length - 1 - (n % Math.min(4, values.length))]!);
    values.push(steps[step]!(pick(i), pick(j)));
  }
  const last = values.slice(-2);
  const found = gradients(last.map((x) => sum(x)).reduce((x, y) => add(x, y)), inputs);
  const outputs = [...last, ...found].map((tensor, i) => [`y${i}`, tensor] as const);
  return program(Object.fromEntries(outputs), inputs.map((tensor) => ({ name: tensor.node.attributes["name"] as string, tensor })));
}

/** Fixed numbers for the inputs of `randomProgram`. */
export const randomProgramInputs: Readonly<Record<string, Float64Array>> = {
  a: Float64Array.from({ length: sizeOf(SHAPE) }, (_, i) => Math.sin(3 * i + 1)),
  b: Float64Array.of(0.7, -1.1, 0.2, 0.9),
  c: Float64Array.of(-0.6),
};
