import { describe, expect, it } from "vitest";

import { clipStatistics, longerSidePad, shorterSideCrop } from "./preprocessing.ts";
import { resizePillow } from "./pillow-resize.ts";
import { centerCropStart, shorterSideSize } from "./resize-matrix.ts";
import type { Picture } from "./picture.ts";

/** A picture with hard edges everywhere. */
function picture(height: number, width: number): Picture {
  const pixels = new Uint8Array(3 * height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) pixels.fill((97 * x + 13 * y) % 256, 3 * (y * width + x), 3 * (y * width + x) + 3);
  }
  return { height, width, pixels };
}

describe("a picture of any shape", () => {
  it("is resized where the crop shows it, with the same bytes as the whole", () => {
    for (const [height, width, size] of [[9, 60, 14], [60, 9, 14], [33, 40, 40], [5, 61, 5], [40, 21, 7], [1, 30, 8], [30, 1, 8]] as const) {
      const { pixels } = picture(height, width);
      const [tall, wide] = shorterSideSize(height, width, size);
      for (const rule of ["pillow-12", "pillow-13"] as const) {
        const whole = resizePillow(pixels, [height, width], [tall, wide], rule);
        const [top, left] = [centerCropStart(tall, size, "floor"), centerCropStart(wide, size, "half-even")];
        const part = resizePillow(pixels, [height, width], [tall, wide], rule, { top, left, height: size, width: size });
        const expected = Array.from({ length: size }, (_, y) => [...whole.subarray(3 * ((top + y) * wide + left), 3 * ((top + y) * wide + left + size))]).flat();
        expect([...part], `${height}×${width} to ${size}`).toEqual(expected);
      }
    }
  });

  it("costs no more than its own size, however long it is", () => {
    // As a whole the picture would have 56 million columns, and its matrix 14 million million entries.
    const [long, high] = [picture(1, 250_000), picture(250_000, 1)];
    for (const crop of ["floor", "half-even"] as const) {
      const values = shorterSideCrop(224, crop).pixelValues(long);
      expect(values.every((value) => Number.isFinite(value))).toBe(true);
      expect(shorterSideCrop(224, crop).pixelValues(high)).toHaveLength(values.length);
    }
  });

  it("is refused by HPSv2's rule when nothing of its shorter side would be left", () => {
    const rule = longerSidePad(28);
    expect(() => rule.pixelValues(picture(3, 230))).toThrow(expect.objectContaining({ name: "UsageError", code: "picture-shape" }) as Error);
    expect(rule.pixelValues(picture(3, 160))).toHaveLength(3 * 28 * 28);
  });
});

describe("HPSv2's picture values", () => {
  const [mean, std] = [clipStatistics.mean[0]!, clipStatistics.std[0]!];
  // torch 2.15 on float32 pictures; in float64 the same pixels are 0.613500, 0.202259 and 0.606537.
  const cases = [
    [53, 304, 224, true, 92 + 27, 221, 0.6134850382804871],
    [12, 1013, 224, false, 110, 216, 0.2023249864578247],
    [60, 1501, 28, false, 13, 26, 0.6065848469734192],
    // One pixel wide: torch repeats the first row.
    [60, 4, 14, true, 0, 6, 0.4424578547477722],
    [60, 4, 14, true, 13, 6, 0.4424578547477722],
  ] as const;

  it.each(cases)("%d×%d to %d (antialiased: %s) round where torch does", (height, width, size, isAntialiased, y, x, expected) => {
    const value = longerSidePad(size, isAntialiased).pixelValues(picture(height, width))[y * size + x]!;
    expect(Math.abs(value * std + mean - expected)).toBeLessThan(2e-6);
  });
});
