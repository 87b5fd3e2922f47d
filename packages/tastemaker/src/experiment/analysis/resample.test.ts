import { normal } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";
import { divide, drawPrompts, estimateOf, type Grid, quantileFor, sampleGrid, subtract } from "./resample.ts";

/** A grid with known variances: true mean 0. */
function grid(address: number, seeds: number, prompts: number, { ofSeeds, ofPrompts, ofBoth }: { ofSeeds: number; ofPrompts: number; ofBoth: number }): Grid {
  const draw = (stream: string, count: number): Float64Array => normal({ seed: 5, stream: `coverage/${stream}`, indices: [address] }, count);
  const [s, p, both] = [draw("seeds", seeds), draw("prompts", prompts), draw("both", seeds * prompts)];
  return Array.from({ length: seeds }, (_, i) => Array.from({ length: prompts }, (__, j) => ofSeeds * s[i]! + ofPrompts * p[j]! + ofBoth * both[i * prompts + j]!));
}

function coverage(seeds: number, variances: { ofSeeds: number; ofPrompts: number; ofBoth: number }): number {
  const [sets, prompts] = [300, 30];
  let holds = 0;
  for (let set = 0; set < sets; set++) {
    const { low, high } = estimateOf(sampleGrid(grid(set, seeds, prompts, variances), drawPrompts(prompts, { seed: set, resamples: 200 }), "cell"));
    holds += Number(low! <= 0 && 0 <= high!);
  }
  return holds / sets;
}

describe("intervals over seeds and prompts", () => {
  it("hold the truth in about 95 of 100 cases, whether seeds or prompts decide, also with three seeds", () => {
    const cases = [
      { seeds: 3, variances: { ofSeeds: 1, ofPrompts: 0.3, ofBoth: 0.3 } },
      { seeds: 3, variances: { ofSeeds: 0.1, ofPrompts: 1, ofBoth: 0.5 } },
      { seeds: 5, variances: { ofSeeds: 0.3, ofPrompts: 1, ofBoth: 0.5 } },
      { seeds: 1, variances: { ofSeeds: 0, ofPrompts: 1, ofBoth: 0 } },
    ];
    for (const { seeds, variances } of cases) {
      const share = coverage(seeds, variances);
      expect(share, JSON.stringify({ seeds, variances })).toBeGreaterThan(0.915);
      expect(share, JSON.stringify({ seeds, variances })).toBeLessThan(0.995);
    }
    // Where neither seeds nor prompts have a part of their own, crossed sampling is wide; never narrow.
    expect(coverage(3, { ofSeeds: 0, ofPrompts: 0, ofBoth: 1 })).toBeGreaterThan(0.97);
  });

  it("know that two methods were looked at with the same prompts", () => {
    const prompts = [...normal({ seed: 1, stream: "paired", indices: [] }, 100)];
    const draws = drawPrompts(100, { seed: 1, resamples: 500 });
    const a = sampleGrid([prompts, prompts.map((value) => value + 0.01)], draws, "a");
    const b = sampleGrid([prompts.map((value) => value - 0.1), prompts.map((value) => value - 0.11)], draws, "b");
    const difference = estimateOf(subtract(a, b));
    expect(difference.mean).toBeCloseTo(0.11, 10);
    expect(difference.low).toBeGreaterThan(0);
    expect(estimateOf(a).standardError).toBeGreaterThan(5 * difference.standardError!);
  });

  it("draw the same for equal addresses, and the mean does not depend on the draws", () => {
    const cell = grid(1, 3, 20, { ofSeeds: 1, ofPrompts: 1, ofBoth: 1 });
    const once = sampleGrid(cell, drawPrompts(20, { seed: 1, resamples: 100 }), "x");
    expect(sampleGrid(cell, drawPrompts(20, { seed: 1, resamples: 100 }), "x")).toEqual(once);
    expect(sampleGrid(cell, drawPrompts(20, { seed: 1, resamples: 100 }), "y").draws).not.toEqual(once.draws);
    expect(sampleGrid(cell, drawPrompts(20, { seed: 2, resamples: 100 }), "x").mean).toBe(once.mean);
  });

  it("give ratios the error of both parts", () => {
    const draws = drawPrompts(400, { seed: 3, resamples: 400 });
    const noise = (index: number): number[] => [...normal({ seed: 3, stream: "ratio", indices: [index] }, 400)];
    const top = sampleGrid([noise(0).map((z) => 3 + z)], draws, "top");
    const bottom = sampleGrid([noise(1).map((z) => 2 + z)], draws, "bottom");
    const { mean, standardError } = estimateOf(divide(top, bottom));
    expect(mean).toBeCloseTo(1.5, 1);
    expect(standardError! / (Math.hypot(1 / 3, 1 / 2) * 1.5 * 0.05)).toBeCloseTo(1, 0);
  });

  it("give ratios a finite error where samples of the denominator are 0", () => {
    const draws = drawPrompts(4, { seed: 3, resamples: 100 });
    const part = sampleGrid([[0, 0, 1, 1]], draws, "part");
    const whole = sampleGrid([[0, 0, 1, 1]], draws, "whole");
    expect([...whole.draws].some((value) => value === 0)).toBe(true);
    // Equal on every prompt: the ratio is 1 whatever is drawn.
    expect(estimateOf(divide(part, whole))).toMatchObject({ mean: 1, low: expect.closeTo(1, 9), high: expect.closeTo(1, 9) });
    const { mean, standardError } = estimateOf(divide(sampleGrid([[1, 0, 0, 1]], draws, "other"), whole, -0.5));
    expect(mean).toBe(1);
    expect(Number.isFinite(standardError)).toBe(true);
  });

  it("interpolate Student's quantile between whole degrees", () => {
    expect([1, 1.5, 2, 10, Number.POSITIVE_INFINITY].map((degrees) => Number(quantileFor(degrees).toFixed(2)))).toEqual([12.71, 8.5, 4.3, 2.23, 1.96]);
  });
});
