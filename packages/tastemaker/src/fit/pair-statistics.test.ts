import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { uniform } from "@tastemaker/tensor";
import { crossEntropy, fitScale, type JudgedPair, pairStatistics, sigmoid } from "./pair-statistics.ts";

const judged = (margin: number, label: number, probability?: number): JudgedPair => ({ margin, label, probability });

/** Choices by the very probabilities that the margins say. */
function honest(count: number): JudgedPair[] {
  const draws = uniform({ seed: 7, stream: "honest", indices: [] }, 2 * count);
  return Array.from({ length: count }, (_, i) => {
    const margin = 8 * draws[2 * i]! - 4;
    return judged(margin, Number(draws[2 * i + 1]! < sigmoid(margin)), sigmoid(margin));
  });
}

describe("the statistics of judged pairs", () => {
  it("count ties neither for nor against, and a margin of nothing as half right", () => {
    const { accuracy, ties, pairs, logLoss } = pairStatistics([judged(2, 1), judged(2, 0), judged(-1, 0), judged(0, 1), judged(5, 0.5)]);
    expect([pairs, ties, accuracy!.share]).toEqual([5, 1, 2.5 / 4]);
    const expected = (Math.log1p(Math.exp(-2)) + Math.log1p(Math.exp(2)) + Math.log1p(Math.exp(-1)) + Math.log(2) + 0.5 * (Math.log1p(Math.exp(-5)) + Math.log1p(Math.exp(5)))) / 5;
    expect(logLoss).toBeCloseTo(expected, 12);
    expect(pairStatistics([judged(1, 0.5)]).accuracy).toBeNull();
  });

  it("give Wilson's interval", () => {
    // 8 of 10: 0.490 to 0.943, as in the textbooks.
    const { accuracy } = pairStatistics(Array.from({ length: 10 }, (_, i) => judged(1, Number(i < 8))));
    expect(accuracy!.share).toBe(0.8);
    expect(accuracy!.low).toBeCloseTo(0.4902, 3);
    expect(accuracy!.high).toBeCloseTo(0.9433, 3);
  });

  it("find honest probabilities calibrated, and doubled margins over-confident", () => {
    const pairs = honest(20_000);
    const { expectedCalibrationError, calibration, ofCeiling, agreementWithTruth } = pairStatistics(pairs);
    expect(expectedCalibrationError).toBeLessThan(0.015);
    expect(calibration).toHaveLength(10);
    for (const { n, low, high, predicted, observed } of calibration) {
      expect(n).toBeGreaterThan(100);
      expect(predicted).toBeGreaterThanOrEqual(low);
      expect(predicted).toBeLessThanOrEqual(high);
      expect(Math.abs(predicted! - observed!)).toBeLessThan(4 / Math.sqrt(n));
    }
    expect(ofCeiling).toBeGreaterThan(0.99);
    expect(ofCeiling).toBeLessThan(1.01);
    expect(agreementWithTruth).toBe(1);
    expect(pairStatistics(pairs.map((pair) => ({ ...pair, margin: 2 * pair.margin }))).expectedCalibrationError).toBeGreaterThan(0.04);
  });

  it("fit the scale that margins were shrunk by", () => {
    expect(fitScale(honest(20_000).map(({ margin, label }) => ({ margin: margin / 50, label })))).toBeCloseTo(50, -0.5);
    expect(fitScale([judged(0, 1), judged(0, 0)])).toBe(1);
  });

  it("fit no scale that a neighbouring one beats", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.double({ min: -3, max: 3, noNaN: true }), fc.constantFrom(0, 0.5, 1)), { minLength: 2, maxLength: 40 }), (rows) => {
        const pairs = rows.map(([margin, label]) => ({ margin, label }));
        fc.pre(pairs.some(({ margin }) => Math.abs(margin) > 1e-3));
        const scale = fitScale(pairs);
        const loss = (factor: number): number => pairs.reduce((total, { margin, label }) => total + crossEntropy(factor * margin, label), 0);
        const spread = Math.sqrt(pairs.reduce((total, { margin }) => total + margin ** 2, 0) / pairs.length);
        for (const other of [scale * 0.9, Math.min(scale * 1.1, 50 / spread), 0]) expect(loss(scale)).toBeLessThanOrEqual(loss(other) + 1e-7);
      }),
    );
  });
});
