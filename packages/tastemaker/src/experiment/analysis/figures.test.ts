import { describe, expect, it } from "vitest";
import { chooseBeta } from "../choose-beta.ts";
import type { Method, RunRecord } from "../run-record.ts";
import { syntheticBase, syntheticRun } from "../testing/synthetic-records.ts";
import { estimateSeeds, firstReach, interpolate, meanLine } from "./curves.ts";
import { gainAtReward, matchedReward } from "./matched-reward.ts";
import { preferenceByBeta } from "./preference-by-beta.ts";
import { compareSpeed, timeToQuality } from "./time-to-quality.ts";
import { trainingCurves } from "./training-curves.ts";

const base = syntheticBase(200);
const options = { seed: 1, resamples: 400 };
const seeds = [1, 2, 3];

describe("lines", () => {
  it("are straight between points and constant beyond them", () => {
    const line = { x: [0, 10, 20], y: [1, 3, 2] };
    expect([-5, 0, 5, 10, 15, 20, 99].map((at) => interpolate(line, at))).toEqual([1, 1, 2, 3, 2.5, 2, 2]);
    expect(interpolate({ x: [], y: [] }, 1)).toBeNaN();
  });

  it("reach a level where the segment crosses it, the first time; never is Infinity", () => {
    const line = { x: [0, 10, 20, 30], y: [0, 4, 2, 8] };
    expect([0, -1, 1, 4, 5, 8, 8.1].map((level) => firstReach(line, level))).toEqual([0, 0, 2.5, 10, 25, 30, Number.POSITIVE_INFINITY]);
    expect(firstReach({ x: [0, 1], y: [0, Number.NaN] }, 1)).toBe(Number.POSITIVE_INFINITY);
  });

  it("average where all of them are", () => {
    expect(meanLine([{ x: [0, 10, 20], y: [0, 10, 20] }, { x: [0, 5, 10], y: [0, 10, 20] }])).toEqual({ x: [0, 10], y: [0, 15] });
  });

  it("have an error of seeds and one of prompts, which more seeds do not make smaller", () => {
    const same = estimateSeeds(Array.from({ length: 9 }, () => 1), Array.from({ length: 9 }, () => 0.1));
    expect(same.standardError).toBeCloseTo(0.1, 12);
    expect(same.high! - 1).toBeCloseTo(0.196, 3);
    const spread = estimateSeeds([1, 2, 3], [0, 0, 0]);
    expect(spread.high! - 2).toBeCloseTo(4.303 / Math.sqrt(3), 2);
  });
});

describe("Fig. 4", () => {
  /** Gold has its optimum at beta 3, the trained reward rises as beta falls. */
  const gold: Readonly<Record<number, number>> = { 0: -0.8, 1: 0, 3: 0.8, 10: 0.3, 30: 0 };
  const records = Object.keys(gold).flatMap((text) =>
    seeds.map((seed) => {
      const beta = Number(text);
      return syntheticRun(base, { part: beta === 0 ? "main" : "sweep", method: beta === 0 ? "rocm-none" : "rocm-kl", beta: beta === 0 ? null : beta, seed, seedSpread: 0.02, effect: (metric) => (metric === "pick-score" ? 2 / (1 + beta) : metric === "gold" ? gold[beta]! : 0) });
    }),
  );

  it("finds an optimum inside, what is hacked below it, and that the prediction goes on rising", () => {
    const [curve] = preferenceByBeta(records, base, options);
    expect(curve!.points.map(({ beta }) => beta)).toEqual([0, 1, 3, 10, 30]);
    expect(curve).toMatchObject({ reward: "pick-score", method: "rocm-kl", best: 3, isInterior: true, hacked: [0, 1] });
    expect(curve!.predictedRise!.low).toBeGreaterThan(0);
    // Φ(2) = .977: the share of gains above 0, normal with mean 2 and standard deviation 1. The mean of σ(gain) is near σ(.8/√(1 + π/8)) = .663 (MacKay 1992).
    expect(Math.abs(curve!.points[0]!.predicted.mean - 0.977)).toBeLessThan(0.02);
    expect(Math.abs(curve!.points[2]!.gold.mean - 0.663)).toBeLessThan(0.06);
  });

  it("finds no optimum inside where all betas are alike", () => {
    const found = Array.from({ length: 20 }, (_, world) => {
      const alike = [1, 3, 10, 30].flatMap((beta) => seeds.map((seed) => syntheticRun(base, { part: "sweep", method: "rocm-kl", beta, seed, world, seedSpread: 0.1 })));
      return preferenceByBeta(alike, base, options)[0]!.isInterior;
    });
    expect(found.filter(Boolean).length).toBeLessThanOrEqual(2);
  });
});

describe("Fig. 5", () => {
  it("has a band around the mean of the seeds at calibrated times", () => {
    const records = seeds.map((seed) => syntheticRun(base, { method: "rlcm", seed, secondsPerIteration: 0.5, seedSpread: 0.05, effect: () => 1 }));
    const curves = trainingCurves(records, base, [], ["pick-score", "gold"]);
    expect(curves.map(({ metric, method }) => [metric, method])).toEqual([["held-out", "rlcm"], ["pick-score", "rlcm"], ["gold", "rlcm"]]);
    const { points } = curves[0]!;
    expect(points.map(({ trainSeconds }) => trainSeconds)).toEqual([0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50]);
    expect(points[0]!.score.mean).toBeCloseTo(0, 10);
    expect(Math.abs(points.at(-1)!.score.mean - 1)).toBeLessThan(0.15);
    // Of a single metric too it is the gain over the own base model, whose scores have mean 1 here.
    const gold = curves[2]!.points;
    expect(gold[0]!.score.mean).toBe(0);
    expect(Math.abs(gold.at(-1)!.score.mean - 1)).toBeLessThan(0.4);
    for (const { score } of points.slice(1)) expect(score.low! < score.mean && score.mean < score.high!).toBe(true);
  });
});

describe("the comparison at equal trained reward", () => {
  it("reads the other metric where the reward was first reached", () => {
    expect(gainAtReward({ x: [0, 1, 2], y: [0, 2, 1] }, { x: [0, 1, 2], y: [0, 4, -4] }, 1)).toBe(2);
    expect(gainAtReward({ x: [0, 1], y: [0, 2] }, { x: [0, 1], y: [0, 4] }, 3)).toBeUndefined();
  });

  /** Trained reward 1 at the end of the run with a divergence, 2 without; gold of the latter is twice the share of training until the middle, then falls. */
  const records = (goldOfDivergence: number): RunRecord[] =>
    (["pick-score", "hpsv2"] as const).flatMap((reward) => seeds.flatMap((seed) => [
      syntheticRun(base, { reward, part: "sweep", method: "rocm-kl", beta: 1, seed, isCurveNoisy: false, seedSpread: 0.01, effect: (metric) => (metric === reward ? 1 : metric === "gold" ? goldOfDivergence : 0) }),
      syntheticRun(base, { reward, method: "rocm-none", seed, isCurveNoisy: false, seedSpread: 0.01, effect: (metric) => (metric === reward ? 2 : 1), shape: (share, metric) => (metric === "gold" && share > 0.5 ? 2 - 2 * share : metric === "gold" ? 2 * share : share) }),
    ]));

  it("finds nothing where stopping does the same, and the planted difference where it does not", () => {
    for (const [planted, side] of [[1, "none"], [1.5, "above"], [0.4, "below"]] as const) {
      const runs = records(planted);
      const { rows, pooled, paths } = matchedReward(runs, base, chooseBeta(runs, base));
      const found = pooled.find(({ method, metric }) => method === null && metric === "gold")!;
      // The gold of the base's prompts does not have a standard deviation of exactly 1.
      expect(Math.abs(found.difference!.mean - (planted - 1))).toBeLessThan(0.12);
      expect(found.rewards).toBe(2);
      if (side === "above") expect(rows.find(({ metric }) => metric === "gold")!.difference.low).toBeGreaterThan(0);
      if (side === "below") expect(rows.find(({ metric }) => metric === "gold")!.difference.high).toBeLessThan(0);
      expect(rows.every(({ unmatched, isChosen }) => unmatched === 0 && isChosen)).toBe(true);
      expect(paths).toHaveLength(4);
    }
  });

  it("counts the seeds whose reward was never reached without a divergence", () => {
    const runs = records(1).map((record) => (record.spec.method === "rocm-none" ? { ...record, curve: record.curve.slice(0, 3) } : record));
    const { rows, pooled } = matchedReward(runs, base, chooseBeta(runs, base));
    expect(rows.every(({ unmatched, differences }) => unmatched === 3 && differences.length === 0)).toBe(true);
    expect(pooled.every(({ difference }) => difference === null)).toBe(true);
  });
});

describe("time to quality", () => {
  const runs = (method: Method, effect: number, secondsPerIteration: number, more: object = {}): RunRecord[] => seeds.map((seed) => syntheticRun(base, { method, seed, secondsPerIteration, seedSpread: 0.02, isCurveNoisy: false, effect: () => effect, ...more }));
  const rowsOf = (records: readonly RunRecord[]): ReturnType<typeof timeToQuality>[number]["row"][] => timeToQuality(records, base, [], options).map(({ row }) => row);

  it("is the planted ratio: twice the final gain at a quarter of the seconds is eight times sooner", () => {
    const row = rowsOf([...runs("rlcm", 0.5, 1), ...runs("rocm-none", 1, 0.25)]).find(({ quality }) => quality === "held-out gain")!;
    expect(row.status).toBe("reached");
    expect(Math.abs(row.ratio! - 8)).toBeLessThan(0.6);
    expect(row.baselineSeconds).toBeCloseTo(100, 6);
    expect(row.low! < 8 && 8 < row.high!).toBe(true);
    expect(row).toMatchObject({ goal: 5, meetsGoal: true, censoredShare: 0, side: 1, seeds: [3, 3] });
  });

  it("says that it was never reached, and bounds the ratio by the whole training", () => {
    const row = rowsOf([...runs("rlcm", 1, 1), ...runs("rocm-none", 0.3, 0.5)])[0]!;
    expect(row).toMatchObject({ status: "censored", seconds: null, meetsGoal: false, censoredShare: 1, low: 0, high: 0, side: -1 });
    expect(row.ratio).toBeCloseTo(2, 6);
  });

  it("knows that a baseline without gain has nothing to be reached, and that one seed has no interval", () => {
    expect(rowsOf([...runs("rlcm", -0.5, 1), ...runs("rocm-none", 1, 1)])[0]).toMatchObject({ status: "no gain", ratio: null, low: null, high: null, side: 0 });
    expect(rowsOf([...runs("rlcm", 0.5, 1), ...runs("rocm-none", 1, 1).slice(0, 1)])[0]).toMatchObject({ status: "reached", low: null, high: null, meetsGoal: null });
  });

  it("does not call a method sooner than a baseline whose own gain may be none", () => {
    const baseline = { reward: "pick-score", method: "rlcm", beta: null, runs: runs("rlcm", 0.12, 1, { seedSpread: 0.2 }) } as const;
    const challenger = { reward: "pick-score", method: "rocm-none", beta: null, runs: runs("rocm-none", 1, 1) } as const;
    const { row, samples } = compareSpeed(baseline, challenger, base, "held-out gain", options)!;
    expect(row.status).toBe("reached");
    expect(row.ratio!).toBeGreaterThan(5);
    expect(samples.filter(Number.isNaN)).toEqual([]);
    expect(row).toMatchObject({ side: 0, meetsGoal: false });
    expect(row.low!).toBeLessThanOrEqual(1);
  });

  it("compares every ROCM with RLCM and DDPO, and RLCM with DDPO, in four qualities", () => {
    const rows = rowsOf([...runs("rlcm", 0.5, 1), ...runs("ddpo", 0.5, 5), ...runs("rocm-none", 1, 1)]);
    expect(rows.map(({ baseline, method }) => `${method}/${baseline}`).filter((pair, index, all) => all.indexOf(pair) === index)).toEqual(["rocm-none/rlcm", "rocm-none/ddpo", "rlcm/ddpo"]);
    expect(rows).toHaveLength(12);
    expect(rows.find(({ method, baseline }) => method === "rlcm" && baseline === "ddpo")!.goal).toBeNull();
  });
});
