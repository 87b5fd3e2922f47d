import { describe, expect, it } from "vitest";
import { normal } from "@tastemaker/tensor";
import { meanOf, standardErrorOf } from "../report/paired-statistics.ts";
import { diversityScores } from "./diversity.ts";
import { spreadOf } from "./evaluation-history.ts";

const unit = (...values: number[]): Float32Array => {
  const length = Math.hypot(...values);
  return Float32Array.from(values, (value) => value / length);
};

/** A picture's embedding around the common direction; `spread` makes pictures differ. */
function cloud(seed: number, count: number, spread: number): Float32Array[] {
  return Array.from({ length: count }, (_, index) => {
    const z = normal({ seed, stream: "cloud", indices: [index] }, 4);
    // A spread that differs from picture to picture, so that pictures have different mean distances.
    return unit(1, ...Array.from(z, (value) => spread * value));
  });
}

describe("diversity", () => {
  it("of several pictures per prompt is their mean distance, prompt by prompt", () => {
    const [x, y, z] = [unit(1, 0, 0), unit(0, 1, 0), unit(0, 0, 1)];
    expect(diversityScores([[x, y], [x, x], [x, unit(-1, 0, 0)]])).toEqual([1, 0, 2]);
    expect(diversityScores([[x, y, x], [x, y, z]])).toEqual([2 / 3, 1]);
  });

  it("of one picture per prompt is the mean distance of all pairs", () => {
    const pictures = cloud(1, 9, 0.5);
    let sum = 0;
    for (const [i, a] of pictures.entries()) for (const b of pictures.slice(0, i)) sum += 1 - a.reduce((dot, value, k) => dot + value * b[k]!, 0);
    expect(meanOf(diversityScores(pictures.map((one) => [one]))!)).toBeCloseTo(sum / 36, 6);
  });

  it("has a standard error over the prompts that is the spread over repetitions, also with one picture each", () => {
    const runs = Array.from({ length: 300 }, (_, seed) => diversityScores(cloud(seed, 40, 0.6).map((one) => [one]))!);
    const actual = spreadOf(runs.map(meanOf));
    const claimed = meanOf(runs.map(standardErrorOf));
    expect(Math.abs(claimed / actual - 1)).toBeLessThan(0.15);
  });

  it("needs three prompts with one picture each, and falls to zero when all pictures are the same", () => {
    const x = unit(1, 2, 2);
    expect(diversityScores([[x], [x]])).toBeUndefined();
    for (const value of diversityScores(Array.from({ length: 5 }, () => [x]))!) expect(Math.abs(value)).toBeLessThan(1e-6);
    expect(diversityScores([[x, unit(2, 1, 2)]])).toHaveLength(1);
  });
});
