import { describe, expect, it } from "vitest";
import { augment, mirrorRow, shiftRow } from "./augment.ts";

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

describe("moved pictures", () => {
  it("repeat their edges, one row, every channel", () => {
    const values = Float32Array.from({ length: 24 }, (_, i) => i);
    shiftRow(values, 1, [2, 2, 3], 1, 0);
    expect([...values.subarray(0, 12)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect([...values.subarray(12)]).toEqual([12, 12, 13, 15, 15, 16, 18, 18, 19, 21, 21, 22]);
    shiftRow(values, 1, [2, 2, 3], 0, -1);
    expect([...values.subarray(12)]).toEqual([15, 15, 16, 15, 15, 16, 21, 21, 22, 21, 21, 22]);
    shiftRow(values, 0, [2, 2, 3], -9, 9);
    expect([...values.subarray(0, 12)]).toEqual([2, 2, 2, 2, 2, 2, 8, 8, 8, 8, 8, 8]);
  });
});

describe("a batch's changes", () => {
  const shape = [1, 9, 9] as const;
  const pictures = (): Float32Array => Float32Array.from({ length: 4 * 81 }, (_, i) => i % 81);
  const rowsOf = (step: number, mirror: boolean, shift: number): number[][] => {
    const values = pictures();
    augment(values, shape, ["a", "b", "a", "c"], { mirror, shift }, 7, step);
    return [0, 1, 2, 3].map((row) => [...values.subarray(81 * row, 81 * (row + 1))]);
  };

  it("are the same for the pictures of a prompt, others for other prompts and steps, and the same again", () => {
    const steps = Array.from({ length: 200 }, (_, step) => rowsOf(step, true, 2));
    for (const rows of steps) expect(rows[0]).toEqual(rows[2]);
    expect(steps.some((rows) => JSON.stringify(rows[0]) !== JSON.stringify(rows[1]))).toBe(true);
    // Two mirrors and 25 places.
    expect(new Set(steps.flatMap((rows) => rows.map((row) => JSON.stringify(row)))).size).toBe(50);
    expect(rowsOf(3, true, 2)).toEqual(steps[3]);
    // The middle pixel's value says where it was moved from: by two pixels at most, and by all of them.
    const from = steps.flatMap((rows) => rows.map((row) => [row[40]! % 9, Math.floor(row[40]! / 9)]));
    for (const axis of [0, 1]) expect([...new Set(from.map((at) => at[axis]))].sort()).toEqual([2, 3, 4, 5, 6]);
  });

  it("are none where none are asked for", () => expect(rowsOf(0, false, 0).flat()).toEqual([...pictures()]));
});
