import { describe, expect, it } from "vitest";
import { gradients } from "./gradient.ts";
import { attention } from "./ops/attention.ts";
import { add, clamp, div, exp, mul, tanh } from "./ops/elementwise.ts";
import { constant, input, weight } from "./ops/leaves.ts";
import { matmul } from "./ops/matmul.ts";
import { sum } from "./ops/reductions.ts";
import { recompute } from "./ops/segment.ts";
import { reshape } from "./ops/shaping.ts";
import { hashProgram, nodesOf, printProgram, program, substitute, trace } from "./program.ts";
import type { Tensor, WeightSource } from "./tensor.ts";
import { runReference } from "./testing/run-program.ts";

const source: WeightSource = { key: "layer.weight", file: "/tmp/a.safetensors", offset: 128, sizeBytes: 24, dtype: "F32", shape: [2, 3] };

const linear = (x: Tensor): Tensor => add(matmul(x, weight(source), { transposeB: true }), constant([1, -0.5], [2]));

describe("a program's text", () => {
  it("is one line per node", () => {
    const traced = trace(({ x }) => ({ loss: sum(mul(linear(x!), 2)), y: clamp(linear(x!), -Infinity, 1) }), { x: { shape: [4, 3] } });
    expect(printProgram(traced)).toMatchInlineSnapshot(`
      "program(x: float32[4,3])
        %0: float32[2,3] = weight() {source="layer.weight" F32 @128}
        %1: float32[4,2] = matmul(x, %0) {transposeA=false, transposeB=true, alpha=1}
        %2: float32[2] = constant() {data={1, -0.5}}
        %3: float32[4,2] = add(%1, %2)
        %4: float32[] = constant() {data={2}}
        %5: float32[4,2] = mul(%3, %4)
        %6: float32[] = sum(%5) {axes=[0, 1], keepDims=false}
        %7: float32[2,3] = weight() {source="layer.weight" F32 @128}
        %8: float32[4,2] = matmul(x, %7) {transposeA=false, transposeB=true, alpha=1}
        %9: float32[2] = constant() {data={1, -0.5}}
        %10: float32[4,2] = add(%8, %9)
        %11: float32[4,2] = clamp(%10) {min=-Infinity, max=1}
        return loss=%6, y=%11
      "
    `);
  });

  it("shows several outputs, segments and large constants", () => {
    const traced = trace(
      ({ x }) => ({ y: recompute((v) => [add(exp(v), constant(new Float64Array(9), [9]))], [x!])[0]! }),
      { x: { shape: [9] }, unused: { shape: [1], dtype: "int32" } },
    );
    expect(printProgram(traced)).toMatchInlineSnapshot(`
      "program(x: float32[9], unused: int32[1])
        %0: float32[9] = segment(x) {body={
          program(0: float32[9])
            %0: float32[9] = exp(0)
            %1: float32[9] = constant() {data={9 values, sha256 834a709ba2534ebe}}
            %2: float32[9] = add(%0, %1)
            return 0=%2
          }}
        return y=%0
      "
    `);
  });

  it("is the same for the same function traced twice", () => {
    const once = (): string =>
      printProgram(trace(({ x }) => ({ d: gradients(sum(tanh(linear(x!))), [x!])[0]! }), { x: { shape: [4, 3] } }));
    expect(once()).toBe(once());
  });
});

describe("a program's hash", () => {
  const hashOf = (build: (x: Tensor) => Tensor): string => hashProgram(trace(({ x }) => ({ y: build(x!) }), { x: { shape: [2, 4] } }));
  const base = hashOf((x) => mul(x, 2));

  it("does not depend on the objects it is made of", () => {
    expect(hashOf((x) => mul(x, 2))).toBe(base);
    expect(base).toMatch(/^[0-9a-f]{64}$/);
  });

  it.each<[string, (x: Tensor) => Tensor]>([
    ["a constant", (x) => mul(x, 2.0000000001)],
    ["the operator", (x) => add(x, 2)],
    ["the operands' order", (x) => mul(2, x)],
    ["a constant's shape", (x) => mul(x, constant([2], [1]))],
    ["what is written", (x) => div(x, 0.5)],
  ])("depends on %s", (_, build) => {
    expect(hashOf(build)).not.toBe(base);
  });

  it("depends on attributes, infinite ones and signs of zero included", () => {
    const hashes = [
      hashOf((x) => clamp(x, -Infinity, Infinity)),
      hashOf((x) => clamp(x, -1, Infinity)),
      hashOf((x) => clamp(x, 0, Infinity)),
      hashOf((x) => clamp(x, -0, Infinity)),
      hashOf((x) => clamp(x, Infinity, Infinity)),
      hashOf((x) => attention(reshape(x, [1, 2, 4]), reshape(x, [1, 2, 4]), reshape(x, [1, 2, 4]), { heads: 2 })),
      hashOf((x) => attention(reshape(x, [1, 2, 4]), reshape(x, [1, 2, 4]), reshape(x, [1, 2, 4]), { heads: 2, causal: true })),
      hashOf((x) => div(1, add(x, 0))),
      hashOf((x) => div(1, add(x, -0))),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it("depends on the elements of a large constant and on names of inputs and outputs", () => {
    const values = Float64Array.from({ length: 8 }, (_, i) => i);
    const changed = values.with(7, 7.5);
    expect(hashOf((x) => mul(x, constant(values, [2, 4])))).not.toBe(hashOf((x) => mul(x, constant(changed, [2, 4]))));
    const named = (name: string, out: string): string => hashProgram(trace((inputs) => ({ [out]: exp(inputs[name]!) }), { [name]: { shape: [1] } }));
    expect(new Set([named("x", "y"), named("z", "y"), named("x", "w")]).size).toBe(3);
  });

  it("depends on a weight's place, not on the folder of its file", () => {
    const of = (change: Partial<WeightSource>): string => hashProgram(program({ w: weight({ ...source, ...change }) }));
    expect(of({ file: "/elsewhere/a.safetensors" })).toBe(of({}));
    expect(of({ offset: 0 })).not.toBe(of({}));
    expect(of({ key: "other.weight" })).not.toBe(of({}));
    expect(of({ dtype: "F16", sizeBytes: 12 })).not.toBe(of({ dtype: "BF16", sizeBytes: 12 }));
  });
});

describe("writing a program", () => {
  it("keeps declared inputs that are not used, in order", () => {
    const traced = trace(({ b }) => ({ y: exp(b!) }), { a: { shape: [2] }, b: { shape: [3] }, c: { shape: [], dtype: "bool" } });
    expect(traced.inputs.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  });

  it("finds inputs made elsewhere", () => {
    const y = input("y", [2]);
    expect(trace(({ x }) => ({ z: add(x!, y) }), { x: { shape: [2] } }).inputs.map(({ name }) => name)).toEqual(["x", "y"]);
  });

  it("refuses two inputs of one name", () => {
    expect(() => program({ y: add(input("x", [2]), input("x", [2])) })).toThrow('program: expected one input named "x", got two');
    expect(() => trace(({ x }) => ({ y: add(x!, input("x", [2])) }), { x: { shape: [2] } })).toThrow("expected one input");
  });

  it.each<[string, () => Tensor, RegExp]>([
    ["shapes that do not broadcast", () => add(input("a", [2, 3]), input("b", [2])), /add: expected shapes that broadcast, got \[2,3\] and \[2\]/],
    ["element types that differ", () => add(input("a", [2]), input("b", [2], "int32")), /add: expected float32, got int32 \[2\]/],
    ["inner sizes that differ", () => matmul(input("a", [2, 3]), input("b", [2, 3])), /matmul: expected equal inner sizes, got \[2,3\]·\[2,3\]/],
    ["a wrong number of constants", () => constant([1, 2], [3]), /constant: expected 3 values for shape \[3\], got 2/],
    ["a reshape that loses elements", () => reshape(input("a", [2, 3]), [4, 2]), /reshape: expected 6 elements as in \[2,3\], got \[4,2\]/],
    ["an input of negative size", () => input("a", [2, -1]), /input: expected non-negative integer sizes, got \[2,-1\]/],
    ["an input of fractional size", () => input("a", [1.5]), /expected non-negative integer sizes/],
    ["a weight of the wrong size", () => weight({ ...source, sizeBytes: 20 }), /weight layer.weight: expected 24 bytes for F32 \[2,3\], got 20/],
  ])("refuses %s", (_, build, message) => {
    expect(build).toThrow(message);
  });

  it("lists operands before users, each node once", () => {
    const x = input("x", [2]);
    const y = mul(add(x, 1), add(x, 1));
    const order = nodesOf([y, y]);
    expect(new Set(order).size).toBe(order.length);
    order.forEach((node, i) => node.inputs.forEach((operand) => expect(order.indexOf(operand.node)).toBeLessThan(i)));
  });

  it("writes programs deeper than the stack", () => {
    let y = input("x", []);
    for (let i = 0; i < 20_000; i++) y = add(y, 1);
    expect(program({ y }).nodes.length).toBe(40_001);
  });
});

describe("substitution", () => {
  it("replaces leaves and intermediate values and shares the rest", async () => {
    const [x, z] = [input("x", [2]), input("z", [2])];
    const shared = exp(z);
    const middle = mul(x, 2);
    const y = add(middle, shared);
    const [leaf] = substitute([y], new Map([[x, input("w", [2])]]));
    expect(leaf!.node.inputs[1]).toBe(shared);
    expect((await runReference(program({ leaf: leaf! }), { w: Float64Array.of(1, 2), z: Float64Array.of(0, 0) }))["leaf"]!.data).toEqual(Float64Array.of(3, 5));
    const [cut] = substitute([y], new Map([[middle, z]]));
    expect(program({ cut: cut! }).inputs.map(({ name }) => name)).toEqual(["z"]);
    expect(substitute([shared], new Map([[x, z]]))[0]).toBe(shared);
  });
});
