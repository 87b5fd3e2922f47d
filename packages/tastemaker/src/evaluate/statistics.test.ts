import { normal, uniform } from "@tastemaker/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { meanOf } from "../report/paired-statistics.ts";
import { bootstrapMeans, intervalOfMean } from "./bootstrap.ts";
import { clusteredError, estimateMeans, promptMeans, winRate } from "./cluster-statistics.ts";
import { normalCdf, normalQuantile } from "./normal-distribution.ts";
import { cosineDistance, pixelDistance } from "./picture-distance.ts";
import { type Measured, summarise } from "./summary.ts";

describe("normal distribution", () => {
  it("agrees with tables", () => {
    for (const [x, p] of [[0, 0.5], [1, 0.8413447460685429], [-1.959963984540054, 0.025], [2.5758293035489, 0.995], [-5, 2.866515718791946e-7]] as const) {
      expect(Math.abs(normalCdf(x) - p), String(x)).toBeLessThan(1e-14);
      expect(normalQuantile(p)).toBeCloseTo(x, 8);
    }
    expect([normalCdf(-9), normalCdf(9)]).toEqual([0, 1]);
  });
});

/** Share of simulated data sets whose interval holds the true mean. */
function coverage(sets: number, clusters: number, truth: number, draw: (set: number) => number[]): number {
  let hits = 0;
  for (let set = 0; set < sets; set++) {
    const values = draw(set);
    expect(values).toHaveLength(clusters);
    const { low, high } = intervalOfMean(values, bootstrapMeans([values], { seed: set, resamples: 500 })[0]!)!;
    hits += Number(low <= truth && truth <= high);
  }
  return hits / sets;
}

describe("bootstrap interval", () => {
  const sets = 500;
  // Standard error of a share of 500: 0.01.
  it("holds the truth in about 95 % of data sets, also skewed or coarse ones, and those with few prompts", () => {
    for (const clusters of [8, 32]) {
      const drawn = (stream: string, set: number): Float64Array => uniform({ seed: 3, stream, indices: [set] }, clusters);
      const normals = coverage(sets, clusters, 0, (set) => [...normal({ seed: 3, stream: "normal", indices: [set] }, clusters)]);
      expect(normals).toBeGreaterThan(0.92);
      expect(normals).toBeLessThan(0.98);
      const coarse = coverage(sets, clusters, 0.2, (set) => [...drawn("coarse", set)].map((u) => (u < 0.1 ? -1 : u < 0.7 ? 0 : 1)));
      expect(coarse).toBeGreaterThan(0.9);
      expect(coarse).toBeLessThan(0.98);
      const skewed = coverage(sets, clusters, 1, (set) => [...drawn("skewed", set)].map((u) => -Math.log(u)));
      expect(skewed).toBeGreaterThan(clusters === 8 ? 0.87 : 0.9);
    }
  });

  it("counts a prompt once however many seeds it has: seeds that say the same do not narrow it", () => {
    const [prompts, seeds] = [24, 8];
    const misses = { clustered: 0, naive: 0 };
    for (let set = 0; set < 300; set++) {
      const levels = normal({ seed: 4, stream: "prompt", indices: [set] }, prompts);
      const noise = normal({ seed: 4, stream: "seed", indices: [set] }, prompts * seeds);
      const values = Array.from({ length: prompts * seeds }, (_, i) => levels[Math.floor(i / seeds)]! + 0.5 * noise[i]!);
      const holds = (list: readonly number[]): boolean => {
        const { low, high } = intervalOfMean(list, bootstrapMeans([list], { seed: set, resamples: 400 })[0]!)!;
        return low <= 0 && 0 <= high;
      };
      misses.clustered += Number(!holds(promptMeans(values, seeds)));
      misses.naive += Number(!holds(values));
    }
    expect(misses.clustered / 300).toBeLessThan(0.09);
    // Without clusters the interval claims to know far too much.
    expect(misses.naive / 300).toBeGreaterThan(0.3);
  });

  it("is the same bits for the same seed, does not depend on the other lists, and leans to the long tail", () => {
    const values = [0, 0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 5];
    const [one, other] = estimateMeans([values, values.map((value) => -value)], { seed: 1, resamples: 2000 });
    expect(estimateMeans([values], { seed: 1, resamples: 2000 })).toEqual([one]);
    expect(estimateMeans([values], { seed: 2, resamples: 2000 })[0]).not.toEqual(one);
    expect(one!.mean).toBe(0.75);
    expect(one!.high! - 0.75).toBeGreaterThan(2 * (0.75 - one!.low!));
    expect(other!.mean).toBe(-0.75);
    // The numbers themselves, so that another machine or version that gives others is noticed.
    expect(one).toEqual({ mean: 0.75, standardError: 0.6079826125333332, low: 0.1, high: 3.1875 });
  });

  it("bears numbers so small that their squares vanish", () => {
    const [found] = estimateMeans([[5e-324, -1e-320, 3e-318, 0]], { seed: 0, resamples: 200 });
    expect(found!.low!).toBeLessThanOrEqual(found!.mean);
    expect(found!.high!).toBeGreaterThanOrEqual(found!.mean);
  });

  it("is a point for equal values and nothing for a single one", () => {
    expect(estimateMeans([[2, 2, 2]], { seed: 0, resamples: 50 })).toEqual([{ mean: 2, standardError: 0, low: 2, high: 2 }]);
    expect(estimateMeans([[2]], { seed: 0, resamples: 50 })).toEqual([{ mean: 2, standardError: null, low: null, high: null }]);
  });

  it("lies inside the values, around the mean, and moves and stretches with them", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -320, max: 320 }).map((value) => value / 64), { minLength: 2, maxLength: 12 }), fc.constantFrom(-4, 0.5, 2), fc.integer({ min: -3, max: 3 }), (values, factor, shift) => {
        const [plain, moved] = estimateMeans([values, values.map((value) => factor * value + shift)], { seed: 7, resamples: 300 });
        expect(plain!.low!).toBeLessThanOrEqual(plain!.mean + 1e-9);
        expect(plain!.high!).toBeGreaterThanOrEqual(plain!.mean - 1e-9);
        expect(plain!.low!).toBeGreaterThanOrEqual(Math.min(...values) - 1e-9);
        expect(plain!.high!).toBeLessThanOrEqual(Math.max(...values) + 1e-9);
        expect(moved!.mean).toBeCloseTo(factor * plain!.mean + shift, 9);
        if (factor > 0) {
          expect(moved!.low!).toBeCloseTo(factor * plain!.low! + shift, 9);
          expect(moved!.high!).toBeCloseTo(factor * plain!.high! + shift, 9);
        }
      }),
      { numRuns: 60, seed: 1 },
    );
  });
});

describe("win rate", () => {
  it("counts ties half and is never certain", () => {
    expect(winRate([1, -1, 0, 2], 1)).toMatchObject({ rate: 0.625, ties: 1 });
    const all = winRate(Array<number>(20).fill(1), 2);
    expect(all).toMatchObject({ rate: 1, high: 1, ties: 0 });
    expect(all.low).toBeGreaterThan(0.6);
    expect(all.low).toBeLessThan(0.7);
    expect(winRate([1, 1], 2)).toEqual({ rate: 1, ties: 0, low: null, high: null });
  });

  it("holds the truth in at least 93 % of simulated comparisons whose seeds hang together", () => {
    const [prompts, seeds] = [20, 3];
    let hits = 0;
    for (let set = 0; set < 600; set++) {
      const levels = normal({ seed: 5, stream: "prompt", indices: [set] }, prompts);
      const noise = normal({ seed: 5, stream: "seed", indices: [set] }, prompts * seeds);
      // Sum of two standard normals, shifted: positive with probability Φ(1/√2).
      const { low, high } = winRate(Array.from(noise, (z, i) => 1 + z + levels[Math.floor(i / seeds)]!), seeds);
      const truth = normalCdf(Math.SQRT1_2);
      hits += Number(low! <= truth && truth <= high!);
    }
    expect(hits / 600).toBeGreaterThan(0.93);
  });
});

describe("distances of pictures", () => {
  it("agree with hand computations", () => {
    const [x, y, z] = [Float32Array.of(1, 0), Float32Array.of(0, 2), Float32Array.of(3, 3)];
    expect(cosineDistance(x, x)).toBe(0);
    expect(cosineDistance(x, y)).toBe(1);
    expect(cosineDistance(x, z)).toBeCloseTo(1 - Math.SQRT1_2, 12);
    const picture = (...pixels: number[]): Parameters<typeof pixelDistance>[0] => ({ height: 1, width: 1, pixels: Uint8Array.from(pixels) });
    expect(pixelDistance(picture(0, 10, 255), picture(3, 10, 249))).toBe(3);
  });
});

describe("summary", () => {
  const measured = (scores: Record<string, number[]>, diversity: number[] | null, isBase: boolean): Measured => ({ scores, diversity, distance: isBase || diversity === null ? null : [0.1, 0.3, 0.1, 0.3, 0.1, 0.3], pixels: isBase ? null : [1, 1, 2, 2, 3, 3] });
  const design = { seeds: 2, seed: 0, resamples: 500, metrics: [{ name: "up", higherIsBetter: true }, { name: "down", higherIsBetter: false }] };
  const base = measured({ up: [1, 2, 3, 4, 5, 6], down: [1, 1, 1, 1, 1, 1] }, [0.4, 0.5, 0.6], true);

  it("respects which direction is better", () => {
    const better = measured({ up: [2, 3, 4, 5, 6.5, 7], down: [0.5, 0.25, 0.5, 0.5, 0.75, 1] }, [0.2, 0.25, 0.3], false);
    const [own, other] = summarise([base, better], design);
    expect(own!.metrics["up"]).toMatchObject({ n: 6, mean: 3.5, difference: null, wins: null, verdict: null });
    expect(own!.metrics["up"]!.standardError).toBeCloseTo(clusteredError([1, 2, 3, 4, 5, 6], 2)!, 15);
    expect(own!.nearness).toBeNull();
    expect(other!.metrics["up"]).toMatchObject({ verdict: "better", wins: { rate: 1, ties: 0 } });
    expect(other!.metrics["up"]!.difference!.mean).toBeCloseTo(6.5 / 6, 12);
    expect(other!.metrics["down"]).toMatchObject({ verdict: "better", wins: { rate: 5.5 / 6, ties: 1 } });
    expect(other!.metrics["down"]!.difference!.mean).toBeLessThan(0);
    expect(other!.diversity).toMatchObject({ mean: 0.25, ratio: 0.5 });
    expect(other!.diversity!.difference!.mean).toBeCloseTo(-0.25, 12);
    expect(other!.nearness!.distance!.mean).toBeCloseTo(0.2, 12);
    expect(other!.nearness!.shareOfDiversity).toBeCloseTo(0.4, 12);
    expect(other!.nearness!.pixels).toMatchObject({ mean: 2 });
  });

  it("calls nothing clear that does not differ, and says nothing of what was not measured", () => {
    const same = { ...measured(base.scores as Record<string, number[]>, null, false), pixels: [0, 0, 0, 0, 0, 0] };
    const [, other] = summarise([{ ...base, diversity: null }, same], design);
    expect(other!.metrics["up"]).toMatchObject({ verdict: "unclear", difference: { mean: 0, low: 0, high: 0 }, wins: { rate: 0.5, ties: 6 } });
    expect(other!.diversity).toBeNull();
    expect(other!.nearness).toMatchObject({ distance: null, shareOfDiversity: null, pixels: { mean: 0 } });
    expect(meanOf(base.scores["down"]!)).toBe(1);
  });
});
