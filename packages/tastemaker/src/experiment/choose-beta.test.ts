import { describe, expect, it } from "vitest";
import { chooseBeta, chosenBeta, tableBetas } from "./choose-beta.ts";
import type { RunRecord } from "./run-record.ts";
import { syntheticBase, syntheticRun } from "./testing/synthetic-records.ts";

const base = syntheticBase(20);

/** A sweep whose held-out gains are planted; the gold and the trained reward prefer the smallest beta. */
function sweep(gains: Readonly<Record<number, number>>, seeds = 2): RunRecord[] {
  return Object.entries(gains).flatMap(([beta, gain]) =>
    Array.from({ length: seeds }, (_, index) =>
      syntheticRun(base, { part: "sweep", method: "rocm-kl", beta: Number(beta), seed: index + 1, isCurveNoisy: false, effect: (metric) => (metric === "pick-score" || metric.startsWith("gold") ? 10 / Number(beta) : gain) }),
    ),
  );
}

describe("the choice of beta", () => {
  it("takes the highest mean gain over the paper's metrics that are not trained on, whatever gold and the trained reward say", () => {
    const [choice] = chooseBeta(sweep({ 1: 0.1, 3: 0.5, 10: 0.3 }));
    expect(choice).toMatchObject({ reward: "pick-score", method: "rocm-kl", beta: 3, candidates: [{ beta: 1, seeds: 2 }, { beta: 3 }, { beta: 10 }] });
    // √64 prompts of the curve times half a standard deviation.
    expect(choice!.gain).toBeCloseTo(4, 10);
    expect(chosenBeta([choice!], "pick-score", "rocm-kl")).toBe(3);
    expect(chosenBeta([choice!], "hpsv2", "rocm-kl")).toBeUndefined();
  });

  it("takes the smaller of equals, does not depend on the order of records, and does not count runs outside the sweep", () => {
    const records = sweep({ 1: 0.2, 3: 0.5, 10: 0.5 });
    expect(chooseBeta(records)[0]!.beta).toBe(3);
    const later = [1, 2, 3].map((seed) => syntheticRun(base, { part: "main", method: "rocm-kl", beta: 1, seed, effect: () => 9 }));
    expect(chooseBeta([...records, ...later].reverse())).toEqual(chooseBeta(records));
  });

  it("looks at the final prompts where the base model's scores of them are given, and lets a run that broke off lose", () => {
    // The final scores of 20 prompts have more noise than differences between these gains.
    const records = sweep({ 1: 0.1, 3: 2, 10: 1 });
    expect(chooseBeta(records, base)[0]!.beta).toBe(3);
    const swapped = records.map((record) => ({ ...record, curve: records.find(({ spec }) => spec.beta === { 1: 3, 3: 10, 10: 1 }[record.spec.beta as 1 | 3 | 10])!.curve }));
    expect(chooseBeta(swapped, base)[0]!.beta).toBe(3);
    expect(chooseBeta(swapped)[0]!.beta).not.toBe(3);
    const broken = records.map((record) => (record.spec.beta === 3 && record.spec.seed === 2 ? { ...record, final: null } : record));
    expect(chooseBeta(broken, base)[0]!.beta).toBe(10);
    expect(chooseBeta(records.map((record) => ({ ...record, final: null })), base)).toEqual([]);
  });

  it("is for the table what the other seeds were trained with, whatever chose it", () => {
    const records = [...sweep({ 1: 0.1, 3: 2 }), syntheticRun(base, { part: "main", method: "rocm-kl", beta: 1, seed: 2 })];
    expect(tableBetas(records, base)[0]!.beta).toBe(1);
    expect(tableBetas(records.slice(0, -1), base)[0]!.beta).toBe(3);
  });

  it("lets a run lose whose gain is no number, and has no choice without a sweep", () => {
    const [broken, ...rest] = sweep({ 1: 0.9, 3: 0.1 }, 1);
    const score = { mean: Number.NaN, standardError: 1, gain: Number.NaN, gainStandardError: 1 };
    const points = broken!.curve.map((point, index) => (index === 0 ? point : { ...point, scores: { ...point.scores, hpsv2: score } }));
    expect(chooseBeta([{ ...broken!, curve: points }, ...rest])[0]!.beta).toBe(3);
    expect(chooseBeta([])).toEqual([]);
  });
});
