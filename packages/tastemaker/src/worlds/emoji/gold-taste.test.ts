import { describe, expect, it } from "vitest";
import {
  drawPreference,
  goldTaste,
  pictureStatistics,
  preferenceProbability,
} from "./gold-taste.ts";

const plane = 64 * 64;
function picture(paint: (x: number, y: number) => readonly [number, number, number]): Float32Array {
  const pixels = new Float32Array(3 * plane);
  for (let p = 0; p < plane; p++) {
    const rgb = paint(p % 64, Math.floor(p / 64));
    for (let c = 0; c < 3; c++) pixels[c * plane + p] = rgb[c]!;
  }
  return pixels;
}
const inside = (x: number, y: number): boolean => Math.hypot(x - 32, y - 32) < 18;
const lively = picture((x, y) => (inside(x, y) ? [0.95, 0.85, 0.2] : [0.2, 0.35, 0.75]));
const dull = picture((x, y) => (inside(x, y) ? [0.55, 0.5, 0.5] : [0.5, 0.5, 0.5]));

describe("gold taste", () => {
  it("is zero in every statistic for a flat gray picture", () => {
    const { colourfulness, contrast, clipping, roughness } = pictureStatistics(
      picture(() => [0.5, 0.5, 0.5]),
    );
    for (const value of [colourfulness, contrast, clipping, roughness])
      expect(value).toBeCloseTo(0, 6);
  });

  it("prefers a lively picture to a dull one, and either to noise", () => {
    const noise = picture((x, y) => [(x * 7919 + y * 104_729) % 2, (x + y) % 2, (x * y) % 2]);
    expect(goldTaste(lively, 1)).toBeGreaterThan(goldTaste(dull, 1) + 1);
    expect(goldTaste(dull, 1)).toBeGreaterThan(goldTaste(noise, 1));
  });

  it("prefers a dull picture of the right thing to a lively picture of another", () => {
    expect(goldTaste(dull, 1)).toBeGreaterThan(goldTaste(lively, 0));
    expect(goldTaste(lively, 1) - goldTaste(lively, 0)).toBeCloseTo(6, 10);
  });

  it("refuses a match that is not a probability", () => {
    expect(() => goldTaste(dull, 1.5)).toThrow(/0\.\.1, got 1\.5/);
    expect(() => goldTaste(dull, Number.NaN)).toThrow(/NaN/);
  });

  it("is followed by noisy choices in Bradley–Terry proportion", () => {
    const wins = Array.from({ length: 4000 }, (_, index) =>
      drawPreference(1, 0, { seed: 1, index }),
    ).filter(Boolean).length;
    expect(wins / 4000).toBeCloseTo(preferenceProbability(1, 0), 1);
    expect(preferenceProbability(1, 0) + preferenceProbability(0, 1)).toBeCloseTo(1, 12);
  });
});
