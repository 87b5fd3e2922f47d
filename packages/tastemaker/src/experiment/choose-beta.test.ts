import { describe, expect, it } from "vitest";
import { meanOf } from "../report/paired-statistics.ts";
import { spreadOf } from "../train/evaluation-history.ts";
import { chooseBeta, chosenBeta, heldOutMetrics, tableBetas } from "./choose-beta.ts";
import type { RunRecord } from "./run-record.ts";
import { syntheticBase, syntheticRun } from "./testing/synthetic-records.ts";

const base = syntheticBase(20);

/** A sweep whose held-out gains are planted; the gold and the trained reward prefer the smallest beta. */
function sweep(gains: Readonly<Record<number, number>>, seeds = 2): RunRecord[] {
  return Object.entries(gains).flatMap(([beta, gain]) =>
    Array.from({ length: seeds }, (_, index) =>
      syntheticRun(base, { part: "sweep", method: "rocm-kl", beta: Number(beta), seed: index + 1, promptSpread: 0, effect: (metric) => (metric === "pick-score" || metric.startsWith("gold") ? 10 / Number(beta) : gain) }),
    ),
  );
}

describe("the choice of beta", () => {
  it("takes the highest mean gain over the paper's metrics that are not trained on, whatever gold and the trained reward say", () => {
    const [choice] = chooseBeta(sweep({ 1: 0.1, 3: 0.5, 10: 0.3 }), base);
    expect(choice).toMatchObject({ reward: "pick-score", method: "rocm-kl", beta: 3, candidates: [{ beta: 1, seeds: 2 }, { beta: 3 }, { beta: 10 }] });
    // Half a point in every metric, in the base's own standard deviations.
    expect(choice!.gain).toBeCloseTo(meanOf(heldOutMetrics("pick-score").map((metric) => 0.5 / spreadOf(base.scores.emoji[metric]!))), 10);
    expect(chosenBeta([choice!], "pick-score", "rocm-kl")).toBe(3);
    expect(chosenBeta([choice!], "hpsv2", "rocm-kl")).toBeUndefined();
  });

  it("takes the smaller of equals, does not depend on the order of records, and does not count runs outside the sweep", () => {
    const records = sweep({ 1: 0.2, 3: 0.5, 10: 0.5 });
    expect(chooseBeta(records, base)[0]!.beta).toBe(3);
    const later = [1, 2, 3].map((seed) => syntheticRun(base, { part: "main", method: "rocm-kl", beta: 1, seed, effect: () => 9 }));
    expect(chooseBeta([...records, ...later].reverse(), base)).toEqual(chooseBeta(records, base));
  });

  it("lets a run that broke off lose, and one whose gain is no number", () => {
    const records = sweep({ 1: 0.1, 3: 2, 10: 1 });
    const broken = (final: (record: RunRecord) => RunRecord["final"]): RunRecord[] => records.map((record) => (record.spec.beta === 3 && record.spec.seed === 2 ? { ...record, final: final(record) } : record));
    expect(chooseBeta(records, base)[0]!.beta).toBe(3);
    expect(chooseBeta(broken(() => null), base)[0]!.beta).toBe(10);
    expect(chooseBeta(broken(({ final }) => ({ ...final, hpsv2: [Number.NaN] })), base)[0]!.beta).toBe(10);
    expect(chooseBeta(records.map((record) => ({ ...record, final: null })), base)).toEqual([]);
    expect(chooseBeta([], base)).toEqual([]);
  });

  it("is for the table what the other seeds were trained with, whatever chose it", () => {
    const records = [...sweep({ 1: 0.1, 3: 2 }), syntheticRun(base, { part: "main", method: "rocm-kl", beta: 1, seed: 2 })];
    expect(tableBetas(records, base)[0]!.beta).toBe(1);
    expect(tableBetas(records.slice(0, -1), base)[0]!.beta).toBe(3);
  });
});
