import { describe, expect, it } from "vitest";
import { add, cast, exp, greater, logicalAnd, logicalNot, mul, where } from "../ops/elementwise.ts";
import { argMax } from "../ops/reductions.ts";
import { take } from "../ops/indexing.ts";
import { trace } from "../program.ts";
import { runOnnx, runReference } from "../testing/run-program.ts";
import { bindInputs, type HostTensor } from "./backend.ts";

const traced = trace(({ x, ids }) => ({ y: take(x!, ids!) }), { x: { shape: [3, 2] }, ids: { shape: [4], dtype: "int32" } });
const [x, ids] = [Float32Array.of(0, 1, 2, 3, 4, 5), Int32Array.of(2, 0, 0, 1)];

describe("inputs of a run", () => {
  it("may be bare numbers or tensors", () => {
    const bound = bindInputs(traced, { x, ids: { shape: [4], dtype: "int32", data: ids } });
    expect(bound.get("x")).toEqual({ shape: [3, 2], dtype: "float32", data: x });
    expect([...bound.keys()]).toEqual(["x", "ids"]);
  });

  it.each<[string, Record<string, HostTensor | Float32Array | Int32Array>, string]>([
    ["an unknown name", { x, ids, z: x }, 'run: expected inputs x, ids, got "z"'],
    ["a missing one", { x }, 'run: expected input "ids" int32[4], got nothing'],
    ["too few numbers", { x: x.subarray(1), ids }, 'run: expected input "x" float32[3,2], got float32[3,2] with 5 values'],
    ["another shape", { x: { shape: [2, 3], dtype: "float32", data: x }, ids }, 'expected input "x" float32[3,2], got float32[2,3] with 6 values'],
    ["another type", { x, ids: { shape: [4], dtype: "float32", data: x.subarray(2) } }, 'expected input "ids" int32[4], got float32[4]'],
  ])("are refused with %s", async (_, inputs, message) => {
    await expect(runOnnx(traced, inputs)).rejects.toThrow(message);
    expect(() => bindInputs(traced, inputs)).toThrow(message);
  });
});

describe("both backends", () => {
  it("take and return truth values and integers", async () => {
    const mixed = trace(
      ({ flag, count, value }) => ({
        truth: logicalAnd(logicalNot(flag!), greater(value!, 0)),
        count: mul(add(count!, 2), count!),
        best: argMax(value!, 0),
        chosen: where(flag!, value!, cast(count!, "float32")),
        unchanged: flag!,
      }),
      { flag: { shape: [3], dtype: "bool" }, count: { shape: [3], dtype: "int32" }, value: { shape: [3] } },
    );
    const inputs = { flag: Uint8Array.of(1, 0, 0), count: Int32Array.of(-3, 0, 70_000), value: Float32Array.of(0.5, 2.5, -1) };
    const [exact, actual] = [await runReference(mixed, inputs), await runOnnx(mixed, inputs)];
    const expected = { truth: [0, 1, 0], best: [1], chosen: [0.5, 0, 70_000], unchanged: [1, 0, 0] };
    for (const [name, values] of Object.entries(expected)) {
      expect(Array.from(exact[name]!.data), name).toEqual(values);
      expect(Array.from(actual[name]!.data), name).toEqual(values);
    }
    expect([actual["truth"]!.data.constructor, actual["best"]!.data.constructor]).toEqual([Uint8Array, Int32Array]);
    // 70000·70002 does not fit: only the others are compared.
    expect(Array.from(actual["count"]!.data).slice(0, 2)).toEqual([3, 0]);
  });

  it("accept inputs that are not used, outputs that are inputs, and one value under two names", async () => {
    const odd = trace(({ a }) => ({ same: a!, twice: exp(a!), again: exp(a!) }), { a: { shape: [2] }, unused: { shape: [5] } });
    const inputs = { a: Float32Array.of(0, 1), unused: new Float32Array(5) };
    const actual = await runOnnx(odd, inputs);
    const exact = await runReference(odd, inputs);
    for (const name of ["same", "twice", "again"]) {
      actual[name]!.data.forEach((v, i) => expect(v).toBeCloseTo(exact[name]!.data[i]!, 6));
    }
  });

  it("accept any name, also those that the encoder likes for itself", async () => {
    const names = ["t0", "c0", "w0", "n0", "x y/z", "ünï"];
    const spec = Object.fromEntries(names.map((name) => [name, { shape: [2] }]));
    const named = trace((inputs) => Object.fromEntries(names.map((name, i) => [name, mul(exp(inputs[name]!), i + 2)])), spec);
    const actual = await runOnnx(named, Object.fromEntries(names.map((name) => [name, new Float32Array(2)])));
    expect(names.map((name) => actual[name]!.data[0])).toEqual([2, 3, 4, 5, 6, 7]);
  });
});
