import { describe, expect, it } from "vitest";
import { gradients, vjp } from "./gradient.ts";
import { add, cast, exp, less, mul, neg, square, stopGradient, where } from "./ops/elementwise.ts";
import { filled, input } from "./ops/leaves.ts";
import { argMax, softmax, sum } from "./ops/reductions.ts";
import { oneHot, take } from "./ops/indexing.ts";
import { expand, split } from "./ops/shaping.ts";
import { program } from "./program.ts";
import { apply1, type Operator, type Tensor } from "./tensor.ts";
import { runReference } from "./testing/run-program.ts";

const valuesOf = async (tensors: readonly Tensor[], inputs: Record<string, Float64Array>): Promise<number[][]> => {
  const traced = program(Object.fromEntries(tensors.map((tensor, i) => [`y${i}`, tensor])));
  const used = Object.fromEntries(Object.entries(inputs).filter(([name]) => traced.inputs.some((port) => port.name === name)));
  const results = await runReference(traced, used);
  return tensors.map((_, i) => Array.from(results[`y${i}`]!.data));
};

/** Truncation, with no derivative declared. */
const truncate: Operator = {
  name: "truncate",
  infer: ([x]) => [{ shape: x!.shape, dtype: "float32" }],
  derivative: { notDifferentiable: "it is piecewise constant" },
  onnx: (emit, { inputs }) => emit.node("Floor", inputs),
  reference: ([x]) => [x!.data.map(Math.trunc)],
};

describe("reverse-mode derivatives", () => {
  it("sum over every way of broadcasting", async () => {
    const [a, b, c] = [input("a", [3, 1]), input("b", [1, 1, 4]), input("c", [])];
    const found = gradients(sum(mul(add(mul(a, b), c), filled(2, [2, 3, 4]))), [a, b, c]);
    expect(found.map(({ shape }) => shape)).toEqual([[3, 1], [1, 1, 4], []]);
    const inputs = { a: Float64Array.of(1, 2, 3), b: Float64Array.of(1, 10, 100, 1000), c: Float64Array.of(5) };
    // d/da_i = Σ_{2 copies, j} 2·b_j, d/db_j = Σ_{2 copies, i} 2·a_i, d/dc = 2·24
    expect(await valuesOf(found, inputs)).toEqual([[4444, 4444, 4444], [24, 24, 24, 24], [48]]);
  });

  it("are zeros where nothing connects", async () => {
    const [x, other] = [input("x", [2]), input("other", [3, 2])];
    const found = gradients(sum(add(stopGradient(x), mul(x, 0))), [other, x]);
    expect(found[0]!.shape).toEqual([3, 2]);
    expect(await valuesOf(found, { x: Float64Array.of(1, 2) })).toEqual([[0, 0, 0, 0, 0, 0], [0, 0]]);
  });

  it("stop at stopGradient and at comparisons, indices and conversions to integers", async () => {
    const x = input("x", [3]);
    const steps = add(cast(cast(x, "int32"), "float32"), add(oneHot(argMax(x, 0), 3), cast(less(x, 1), "float32")));
    const y = sum(add(mul(stopGradient(x), x), steps));
    expect(await valuesOf(gradients(y, [x]), { x: Float64Array.of(1.5, 2.5, -3.5) })).toEqual([[1.5, 2.5, -3.5]]);
  });

  it("add up over uses, repeated operands and several outputs", async () => {
    const x = input("x", [4]);
    const [left, right] = split(x, 0, 2) as [Tensor, Tensor];
    const found = vjp([square(left), left, mul(right, 3)], [filled(1, [2]), filled(10, [2]), filled(1, [2])], [x, left, x]);
    expect(await valuesOf(found, { x: Float64Array.of(1, 2, 3, 4) })).toEqual([[12, 14, 3, 3], [12, 14], [12, 14, 3, 3]]);
  });

  it("of an output by itself is the cotangent", async () => {
    const x = input("x", [2]);
    const y = exp(x);
    expect(await valuesOf(gradients(y, [y], filled(3, [2])), { x: Float64Array.of(0, 0) })).toEqual([[3, 3]]);
  });

  it("give where's untaken branch exactly nothing, not NaN", async () => {
    const x = input("x", [2]);
    const found = gradients(sum(where(less(x, 1), x, exp(mul(x, 2)))), [x]);
    expect(await valuesOf(found, { x: Float64Array.of(0.5, 1) })).toEqual([[1, 2 * Math.exp(2)]]);
  });

  it("reach a table through its ids, not the ids", async () => {
    const [table, ids] = [input("table", [3, 2]), input("ids", [3], "int32")];
    const found = gradients(sum(square(take(table, ids))), [table]);
    expect(await valuesOf(found, { table: Float64Array.of(1, 2, 3, 4, 5, 6), ids: Float64Array.of(2, 0, 2) })).toEqual([[2, 4, 0, 0, 20, 24]]);
  });

  it("can be taken again and again", async () => {
    const x = input("x", []);
    let y = neg(softmaxPart(x));
    for (let order = 0; order < 3; order++) y = gradients(y, [x])[0]!;
    const [[third]] = (await valuesOf([y], { x: Float64Array.of(0.3) })) as [[number]];
    // third derivative of −sigmoid: −s(1−s)(1 − 6s + 6s²)
    const s = 1 / (1 + Math.exp(-0.3));
    expect(third).toBeCloseTo(-s * (1 - s) * (1 - 6 * s + 6 * s * s), 12);
  });

  it("name the operator that has none, and its reason", () => {
    const x = input("x", [2]);
    expect(() => gradients(sum(apply1(truncate, [x])), [x])).toThrow(
      "gradient: truncate cannot be differentiated: it is piecewise constant; use stopGradient on its input",
    );
    expect(() => gradients(sum(add(apply1(truncate, [stopGradient(x)]), x)), [x])).not.toThrow();
    expect(() => gradients(sum(apply1(truncate, [x])), [input("other", [])])).not.toThrow();
  });

  it("refuse cotangents that do not fit", () => {
    const x = input("x", [2]);
    expect(() => gradients(exp(x), [x])).toThrow("gradients: expected a scalar, got [2]; pass a cotangent of that shape");
    expect(() => gradients(exp(x), [x], filled(1, [3]))).toThrow("vjp: expected a cotangent of shape [2], got [3]");
    expect(() => vjp([exp(x)], [], [x])).toThrow("vjp: expected a cotangent of shape [2], got [undefined]");
  });
});

/** sigmoid(x) written as a softmax of two. */
function softmaxPart(x: Tensor): Tensor {
  const both = mul(expand(x, [2]), oneHot(filled(0, [], "int32"), 2));
  return sum(mul(softmax(both), oneHot(filled(0, [], "int32"), 2)));
}
