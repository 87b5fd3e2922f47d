import { describe, expect, it } from "vitest";
import { mirrorRow } from "./fit-stage.ts";

describe("mirrored pictures", () => {
  it("are those of one row, left to right in every channel, and twice mirrored the same", () => {
    // Two pictures [2, 2, 3] with their own numbers.
    const values = Float32Array.from({ length: 24 }, (_, i) => i);
    mirrorRow(values, 1, [2, 2, 3]);
    expect([...values.subarray(0, 12)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect([...values.subarray(12)]).toEqual([14, 13, 12, 17, 16, 15, 20, 19, 18, 23, 22, 21]);
    mirrorRow(values, 1, [2, 2, 3]);
    expect([...values]).toEqual(Array.from({ length: 24 }, (_, i) => i));
  });
});
