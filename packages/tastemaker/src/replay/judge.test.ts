import { describe, expect, it } from "vitest";

import { type CaseTensor } from "./case-file.ts";
import { judge, toleranceOf } from "./judge.ts";

const tensor = (...data: number[]): CaseTensor => ({ shape: [data.length], data: Float64Array.from(data), dtype: "float32" });

describe("judge", () => {
  it("prefers a tensor's own tolerance, then the longest group", () => {
    const table = { "grad.*": { relative: 1, absolute: 0 }, "grad.in.*": { relative: 2, absolute: 0 }, "grad.in.x": { relative: 3, absolute: 0 } };
    expect(["grad.in.x", "grad.in.y", "grad.param.a", "out"].map((name) => toleranceOf(name, table)?.relative)).toEqual([3, 2, 1, undefined]);
  });

  it("compares against the tensor's own largest value", () => {
    const [verdict] = judge(new Map([["out", tensor(1, -10)]]), new Map([["out", tensor(1.05, -10)]]), { out: { relative: 0.01, absolute: 0 } });
    expect(verdict).toMatchObject({ passed: true, size: 10 });
    expect(verdict!.bar).toBeCloseTo(0.1);
  });

  it("fails what is missing, misshapen or not a number", () => {
    const expected = new Map([["a", tensor(1)], ["b", tensor(1)], ["c", tensor(1)]]);
    const produced = new Map([["b", tensor(1, 1)], ["c", tensor(Number.NaN)]]);
    const loose = { "*": { relative: 100, absolute: 100 } };
    expect(judge(expected, produced, loose).map((v) => [v.passed, v.note])).toEqual([
      [false, "missing"],
      [false, "expected shape [1], got [2]"],
      [false, "NaN at element 0"],
    ]);
  });
});
