import { antialiasedCubicMatrix } from "./resize-matrix.ts";

/** Pillow keeps weights as integers of 22 fraction bits. */
const FRACTION = 2 ** 22;

/** The inputs that one output depends on: from `first` on, one weight each. */
interface Taps {
  readonly first: number;
  readonly weights: Float64Array;
}

function tapsOf(from: number, to: number): Taps[] {
  const { data } = antialiasedCubicMatrix(from, to);
  return Array.from({ length: to }, (_, i) => {
    const row = data.subarray(i * from, (i + 1) * from);
    let [first, last] = [0, from - 1];
    while (first < last && row[first] === 0) first++;
    while (last > first && row[last] === 0) last--;
    return { first, weights: row.slice(first, last + 1).map((weight) => Math.trunc(weight * FRACTION + (weight < 0 ? -0.5 : 0.5))) };
  });
}

const toByte = (sum: number): number => Math.min(255, Math.max(0, Math.floor((FRACTION / 2 + sum) / FRACTION)));

/** One pass along an axis: `lines` runs of `from` pixels, `step` bytes apart within a run; runs begin at `startOf(line)`. */
function pass(image: Uint8Array, from: number, to: number, lines: number, startOf: (line: number, length: number) => number, step: (length: number) => number): Uint8Array {
  const result = new Uint8Array(lines * to * 3);
  const taps = tapsOf(from, to);
  const [stepIn, stepOut] = [step(from), step(to)];
  for (let line = 0; line < lines; line++) {
    const [start, target] = [startOf(line, from), startOf(line, to)];
    for (const [i, { first, weights }] of taps.entries()) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let j = 0; j < weights.length; j++) sum += weights[j]! * image[start + (first + j) * stepIn + channel]!;
        result[target + i * stepOut + channel] = toByte(sum);
      }
    }
  }
  return result;
}

/**
 * Pillow's `Image.resize((width, height), BICUBIC)` of an 8-bit RGB picture, bit for bit: antialiased cubic (a = −½), two passes, each rounded and clamped to 8 bits; horizontal
 * first, and a pass whose size does not change is skipped. This is what the reference implementations of the metrics see; rewards are differentiated through the
 * linear resize without rounding (`resize-matrix.ts`).
 *
 * @param image `[H, W, 3]`, interleaved.
 * @param from `[H, W]`
 * @param to `[height, width]`
 * @param rule `pillow-12` (also all before) or `pillow-13`, which runs the vertical pass first when a picture gets much lower than narrower: h < H and 2(W − w) < H − h.
 */
export function resizePillow(image: Uint8Array, from: readonly [height: number, width: number], to: readonly [height: number, width: number], rule: "pillow-12" | "pillow-13" = "pillow-12"): Uint8Array {
  const [height, width] = from;
  const [newHeight, newWidth] = to;
  const horizontal = (pixels: Uint8Array, rows: number): Uint8Array => (newWidth === width ? pixels : pass(pixels, width, newWidth, rows, (line, length) => line * length * 3, () => 3));
  const vertical = (pixels: Uint8Array, columns: number): Uint8Array => (newHeight === height ? pixels : pass(pixels, height, newHeight, columns, (line) => line * 3, () => columns * 3));
  const isVerticalFirst = rule === "pillow-13" && newHeight < height && 2 * (width - newWidth) < height - newHeight;
  return isVerticalFirst ? horizontal(vertical(image, width), newHeight) : vertical(horizontal(image, height), newWidth);
}
