import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gradients } from "./gradient.ts";
import { abs, add, clamp, div, exp, mul, neg, reciprocal, stopGradient, sub } from "./ops/elementwise.ts";
import { constant, filled, input, weight } from "./ops/leaves.ts";
import { matmul } from "./ops/matmul.ts";
import { sum } from "./ops/reductions.ts";
import { recompute } from "./ops/segment.ts";
import { expand, reshape, transpose } from "./ops/shaping.ts";
import { type Program, program } from "./program.ts";
import { simplify } from "./simplify.ts";
import type { Tensor, WeightSource } from "./tensor.ts";
import { difference } from "./testing/difference.ts";
import { randomChoices, randomProgram, randomProgramInputs } from "./testing/random-program.ts";
import { runOnnx, runReference } from "./testing/run-program.ts";

const x = input("x", [2, 3]);

/** Names of the operators left of a tensor's program, inputs aside. */
const left = (...tensors: Tensor[]): string[] =>
  simplify(program(Object.fromEntries(tensors.map((tensor, i) => [`y${i}`, tensor]))))
    .nodes.map(({ operator }) => operator.name)
    .filter((name) => name !== "input");

describe("simplification", () => {
  it.each<[string, Tensor, string[]]>([
    ["x + 0", add(x, 0), []],
    ["0 + x", add(0, x), []],
    ["x − 0", sub(x, filled(0, [2, 3])), []],
    ["0 − x, which is not x", sub(0, x), ["constant", "sub"]],
    ["1·x", mul(1, x), []],
    ["x/1", div(x, 1), []],
    ["1/x, which is not x", div(1, x), ["constant", "div"]],
    ["−(−x)", neg(neg(x)), []],
    ["0·x, which is not 0 when x is not finite", mul(x, 0), ["constant", "mul"]],
    ["(2·x)·3", mul(mul(2, x), 3), ["constant", "mul"]],
    ["a factor of a product", mul(matmul(x, x, { transposeB: true }), 0.5), ["matmul"]],
    ["a zero that broadcasts x, which does work", add(x, filled(0, [4, 2, 3])), ["constant", "add"]],
    ["two reshapes", reshape(reshape(x, [6]), [3, 2]), ["reshape"]],
    ["a reshape there and back", reshape(reshape(x, [6]), [2, 3]), []],
    ["a transpose there and back", transpose(transpose(x, [1, 0]), [1, 0]), []],
    ["a broadcast that the operator does itself", add(expand(input("b", [3]), [2, 3]), x), ["add"]],
    ["stopGradient", stopGradient(exp(x)), ["exp"]],
    ["constants", add(x, exp(add(constant([1], []), 2))), ["constant", "add"]],
  ])("handles %s", (_, tensor, expected) => {
    expect(left(tensor)).toEqual(expected);
  });

  it("does not turn a small constant into a large one", () => {
    const traced = simplify(program({ y: exp(expand(constant([1], []), [300])) }));
    expect(traced.nodes.map(({ outputs: [y], operator }) => [operator.name, y!.shape])).toEqual([["constant", []], ["expand", [300]], ["exp", [300]]]);
  });

  it("drops what no output needs and keeps the inputs", () => {
    const [a, b] = [input("a", [2]), input("b", [2])];
    const found = gradients(sum(mul(exp(a), b)), [b]);
    const traced = simplify(program({ d: found[0]! }, [{ name: "a", tensor: a }, { name: "b", tensor: b }]));
    expect(traced.inputs.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(traced.nodes.some(({ operator }) => operator.name === "sum")).toBe(false);
  });

  it("computes equal expressions once", () => {
    expect(left(add(exp(mul(x, 2)), abs(exp(mul(x, constant([2], []))))))).toEqual(["constant", "mul", "exp", "abs", "add"]);
    expect(left(exp(x), exp(x))).toEqual(["exp"]);
  });

  it("does not repeat a product that others use too", () => {
    const product = matmul(x, x, { transposeB: true });
    expect(left(mul(product, 0.5), exp(product)).filter((name) => name === "matmul")).toEqual(["matmul"]);
  });

  it("keeps apart what differs in an infinite bound, the sign of a zero or a weight's view", () => {
    expect(left(clamp(x, -Infinity, Infinity), clamp(x, Infinity, Infinity)).length).toBe(2);
    expect(left(reciprocal(mul(x, 0)), reciprocal(mul(x, -0))).length).toBe(6);
    const source: WeightSource = { key: "w", file: "/f", offset: 0, sizeBytes: 24, dtype: "F32", shape: [2, 3] };
    const flat = exp(weight({ ...source, shape: [6] }));
    expect(simplify(program({ a: exp(weight(source)), b: flat })).outputs.map(({ tensor }) => tensor.shape)).toEqual([[2, 3], [6]]);
  });

  it("never merges a segment with its recomputation", () => {
    const y = recompute((v) => [exp(exp(v))], [x])[0]!;
    const names = left(y, ...gradients(sum(y), [x]));
    expect(names.filter((name) => name === "segment").length).toBe(2);
  });

  it("simplifies inside segments", () => {
    const y = recompute((v) => [add(mul(exp(v), 1), 0)], [x])[0]!;
    const [node] = simplify(program({ y })).nodes.filter(({ operator }) => operator.name === "segment");
    expect((node!.attributes["body"] as Program).nodes.map(({ operator }) => operator.name)).toEqual(["input", "exp"]);
  });

  it("does not change what random programs and their gradients compute", async () => {
    await fc.assert(
      fc.asyncProperty(randomChoices, async (choices) => {
        const traced = randomProgram(choices);
        const simple = simplify(traced);
        expect(simple.nodes.length).toBeLessThanOrEqual(traced.nodes.length);
        const [before, after] = [await runReference(traced, randomProgramInputs), await runReference(simple, randomProgramInputs)];
        for (const { name, tensor } of traced.outputs) {
          expect(after[name]!.shape).toEqual(tensor.shape);
          expect(difference(after[name]!.data, before[name]!.data), name).toBeLessThan(1e-11);
        }
        expect(simplify(simple).nodes.length).toBeLessThanOrEqual(simple.nodes.length);
      }),
      { seed: 7, numRuns: 300 },
    );
  });

  it("leaves programs that onnxruntime computes as the reference does the original", async () => {
    await fc.assert(
      fc.asyncProperty(randomChoices, async (choices) => {
        const traced = randomProgram(choices);
        const [exact, actual] = [await runReference(traced, randomProgramInputs), await runOnnx(traced, randomProgramInputs)];
        for (const { name } of traced.outputs) expect(difference(actual[name]!.data, exact[name]!.data), name).toBeLessThan(1e-4);
      }),
      { seed: 8, numRuns: 60 },
    );
  });
});
