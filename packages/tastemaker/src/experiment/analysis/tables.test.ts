import { onnxBackend, referenceBackend } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { chooseBeta } from "../choose-beta.ts";
import type { Method, RunRecord } from "../run-record.ts";
import { syntheticBase, syntheticMetrics, syntheticRun } from "../testing/synthetic-records.ts";
import { betaTable } from "./beta-table.ts";
import { benchDivergences, divergenceTable } from "./divergence-table.ts";
import { baseTable, equalEvaluationsTable, methodTable } from "./method-table.ts";
import { sideOf } from "./resample.ts";

const base = syntheticBase(200);
const options = { seed: 1, resamples: 400 };
const seeds = [1, 2, 3];

describe("Table 1", () => {
  const effects: Partial<Record<Method, number>> = { "rocm-none": -0.3, "rocm-kl": 0.8, rlcm: 0.3, ddpo: -0.2 };
  const records = [
    ...Object.entries(effects).flatMap(([method, effect]) => (method === "rocm-kl" ? [] : seeds.map((seed) => syntheticRun(base, { method: method as Method, seed, seedSpread: 0.03, effect: () => effect, rewardEvaluationsPerIteration: method === "ddpo" ? 1 : 4 })))),
    // The sweep's best beta is a row of the table; its other seeds belong to the part `main`.
    ...[1, 3].flatMap((beta) => seeds.map((seed) => syntheticRun(base, { part: seed === 1 ? "sweep" : "main", method: "rocm-kl", beta, seed, seedSpread: 0.03, effect: () => (beta === 3 ? 0.8 : 0.1) }))),
    syntheticRun(base, { part: "search", method: "rlcm", seed: 7, effect: () => 50 }),
  ];
  const table = methodTable(records, base, "pick-score", chooseBeta(records, base), options);

  it("has the chosen beta's runs of every part, leaves the trained metric out of the paper's columns and methods without runs out of the rows", () => {
    expect(table.rows.map(({ method, beta, seeds: list }) => [method, beta, list])).toEqual([
      ["rocm-none", null, seeds],
      ["rocm-kl", 3, seeds],
      ["rlcm", null, seeds],
      ["ddpo", null, seeds],
    ]);
    expect(table.heldOut).toEqual(["aesthetic", "hpsv2", "clip-score", "blip-score", "image-reward"]);
    expect(Object.keys(table.rows[0]!.cells)).toEqual([...table.heldOut, "pick-score", "gold", "judge"]);
  });

  it("finds the planted gains over each method's own base on equal noise, with intervals that hold them", () => {
    for (const { method, cells, heldOut } of table.rows) {
      const truth = effects[method]!;
      const inside = Object.values(cells).filter(({ gain }) => gain.low! <= truth && truth <= gain.high!).length;
      expect(inside).toBeGreaterThanOrEqual(Object.keys(cells).length - 1);
      expect(heldOut!.gain.mean).toBeCloseTo(truth, 1);
      // Prompts differ by a whole standard deviation, gains on equal noise do not.
      for (const { score, gain } of Object.values(cells)) expect(gain.standardError).toBeLessThan(score.standardError!);
    }
  });

  it("marks the best and what cannot be told from it, and nothing else", () => {
    for (const { method, cells } of table.rows) for (const { isBest } of Object.values(cells)) expect(isBest).toBe(method === "rocm-kl");
    const twins = (["rocm-none", "rlcm"] as const).flatMap((method) => seeds.map((seed) => syntheticRun(base, { method, seed, seedSpread: 0.05 })));
    const { rows } = methodTable(twins, base, "pick-score", [], options);
    expect(rows.flatMap(({ cells }) => Object.values(cells)).filter(({ isBest }) => isBest).length).toBeGreaterThanOrEqual(14);
  });

  it("is read from the curves at the largest number of reward evaluations that every method reached", () => {
    const equal = equalEvaluationsTable(records, base, "pick-score", chooseBeta(records, base), options);
    expect(equal.atEvaluations).toBe(100);
    const gainOf = (method: Method): number => equal.rows.find((row) => row.method === method)!.cells["hpsv2"]!.gain.mean;
    // DDPO at its end, the others at a quarter of their training.
    expect(Math.abs(gainOf("ddpo") - -0.2)).toBeLessThan(0.2);
    expect(Math.abs(gainOf("rocm-kl") - 0.2)).toBeLessThan(0.2);
    expect(equal.rows.find(({ method }) => method === "rlcm")!.iterations).toBe(25);
  });

  it("refuses records that do not belong to the base's prompts", () => {
    expect(() => methodTable(records, syntheticBase(10), "pick-score", [], options)).toThrow(/expected 10 final scores of aesthetic, got 200/);
    const { judge: _, ...rest } = records[0]!.final!;
    expect(() => methodTable([{ ...records[0]!, final: rest }], base, "pick-score", [], options)).toThrow(/expected final scores of judge/);
  });
});

describe("Table 2", () => {
  const run = (method: Method, beta: number | "auto" | null, gold: number, heldOut: number, more: object = {}): RunRecord[] =>
    seeds.map((seed) => syntheticRun(base, { part: beta === "auto" ? "auto" : "sweep", method, beta, seed, effect: (metric) => (metric === "gold" ? gold : heldOut), isCurveNoisy: false, ...more }));
  const records = [
    ...run("rocm-kl", 1, 0.2, 0.1),
    ...run("rocm-kl", 3, 0.6, 0.5),
    ...run("rocm-kl", 10, 1.2, 0.3),
    ...run("rocm-kl", "auto", 1.15, 0.3),
    // Gold rises to twice the end's value by the middle; the watch speaks soon after it.
    ...run("rocm-none", null, 0.5, 0, { part: "main", shape: (share: number) => (share <= 0.5 ? 4 * share : 2 - 2 * (share - 0.5)), bestIteration: 50, watchFiredAt: 60 }),
  ];
  const table = betaTable(records, base, chooseBeta(records, base), options);

  it("shows the beta that held-out metrics choose, the best by gold, and what auto did", () => {
    expect(table.rows).toHaveLength(1);
    const { chosen, best, auto, autoOfBest, autoGainOfBest } = table.rows[0]!;
    expect([chosen!.beta, best.beta, auto!.beta]).toEqual([3, 10, 0]);
    // The mean of σ(gain), gains normal with standard deviation 1, is near σ(mean/√(1 + π/8)) (MacKay 1992): .734 for 1.2, .624 for .6, .726 for 1.15.
    expect(best.gold.mean).toBeCloseTo(0.734, 1);
    expect(chosen!.gold.mean).toBeCloseTo(0.624, 1);
    expect(autoOfBest!.mean).toBeCloseTo(0.726 / 0.734, 1);
    expect(autoGainOfBest!.mean).toBeCloseTo(0.226 / 0.234, 1);
    expect(autoGainOfBest!.mean).toBeLessThan(autoOfBest!.mean);
    expect(autoOfBest!.low! < autoOfBest!.mean && autoOfBest!.mean < autoOfBest!.high!).toBe(true);
    expect(table.autoOfBest!.mean).toBeCloseTo(autoOfBest!.mean, 12);
  });

  it("reads early stopping from the curve: at the best checkpoint and where the watch spoke", () => {
    const [row] = table.stopping;
    expect(row!.atEnd.mean).toBeCloseTo(0.5, 10);
    expect(row!.atBest.mean).toBeCloseTo(1, 10);
    expect(row!.atWatch.mean).toBeCloseTo(0.9, 10);
    expect(row).toMatchObject({ watchFired: 3, sweep: { method: "rocm-kl", beta: 10 } });
    expect(row!.bestOfSweep!.mean).toBeCloseTo(1 / 1.2, 10);
    expect(row!.watchOfSweep!.mean).toBeCloseTo(0.75, 10);
  });
});

describe("Table 3", () => {
  it("has the specification's values, slopes, and sampled values within their error", async () => {
    const rows = await divergenceTable(referenceBackend(() => new Float64Array()), { seed: 1, samples: 20_000 });
    const expected = { kl: [0.125, 0.5, 2, 4.5, 12.5], hellinger: [0.0307668, 0.1175031, 0.3934693, 0.6753475, 0.9560631], js: [0.0303113, 0.1114215, 0.3368308, 0.5267773, 0.6759426], fisher: [0.25, 1, 4, 9, 25] };
    for (const { kind, values, slope } of rows) {
      expect(slope).toBeCloseTo({ kl: 0.5, hellinger: 0.125, js: 0.125, fisher: 1 }[kind], 10);
      for (const [index, { exact, sampled, sampledError }] of values.entries()) {
        expect(exact).toBeCloseTo(expected[kind][index]!, 5);
        expect(Math.abs(sampled - exact), `${kind} ${index}`).toBeLessThanOrEqual(4 * sampledError + 1e-9);
      }
    }
    // u = z + ½ at distance 1, so one draw of KL has standard deviation 1; Fisher's has none.
    expect(rows[0]!.deviationOfOneDraw).toBeCloseTo(1, 1);
    expect(rows[3]!.deviationOfOneDraw).toBe(0);
  });

  it("measures every kind with the timer it is given", async () => {
    let milliseconds = 0;
    const costs = await benchDivergences(onnxBackend(ort, { threads: 1 }), { latent: [1, 4, 8, 8], draws: 5, repeats: 3, now: () => (milliseconds += 2) });
    expect(costs.map(({ kind, microseconds, noiseBytes }) => [kind, microseconds, noiseBytes])).toEqual([
      ["kl", 2000, 0],
      ["hellinger", 2000, 0],
      ["js", 2000, 0],
      ["js-sampled", 2000, 4 * 256 * 5],
      ["fisher", 2000, 0],
    ]);
  });
});

describe("Table 4", () => {
  it("compares diffusion baselines with the diffusion model, not with the consistency model", () => {
    const records = [...seeds.map((seed) => syntheticRun(base, { method: "ddpo", seed, seedSpread: 0.02, effect: (metric) => (metric === "pick-score" ? 0.5 : -0.4) })), syntheticRun(base, { method: "rlcm" })];
    const rows = baseTable(records, base, syntheticMetrics, options);
    expect(rows.map(({ model, method }) => [model, method])).toEqual([["emoji", null], ["emoji-teacher", null], ["emoji-teacher", "ddpo"]]);
    const { gain, score } = rows[2]!.cells["gold"]!;
    expect(Math.abs(gain!.mean + 0.4)).toBeLessThan(0.15);
    expect(sideOf(gain!)).toBe(-1);
    expect(score.mean - gain!.mean).toBeCloseTo(rows[1]!.cells["gold"]!.score.mean, 8);
    expect(sideOf(rows[2]!.cells["pick-score"]!.gain!)).toBe(1);
  });
});
