import { antialiasedCubicTaps, type Taps, tapsRange } from "./resize-matrix.ts";

/** Pillow keeps weights as integers of 22 fraction bits. */
const FRACTION = 2 ** 22;

/** Outputs `start … start + count − 1` of an axis with Pillow's integer weights. */
function integerTaps(from: number, to: number, start: number, count: number): Taps[] {
  return antialiasedCubicTaps(from, to, start, count).map(({ first, weights }) => ({ first, weights: weights.map((weight) => Math.trunc(weight * FRACTION + (weight < 0 ? -0.5 : 0.5))) }));
}

const toByte = (sum: number): number => Math.min(255, Math.max(0, Math.floor((FRACTION / 2 + sum) / FRACTION)));

/** An interleaved picture that shows a part of a larger one, whose first pixel lies at `top`, `left`. */
interface Part {
  readonly pixels: Uint8Array;
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** One pass along an axis of `lines` lines: `from` and `to` say where a line begins and how far its pixels lie apart, in bytes. */
function pass(pixels: Uint8Array, result: Uint8Array, taps: readonly Taps[], lines: number, offset: number, from: readonly [line: number, pixel: number], to: readonly [line: number, pixel: number]): void {
  const step = from[1];
  for (let line = 0; line < lines; line++) {
    const [start, target] = [line * from[0] - offset * step, line * to[0]];
    for (const [i, { first, weights }] of taps.entries()) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let j = 0, at = start + first * step + channel; j < weights.length; j++, at += step) sum += weights[j]! * pixels[at]!;
        result[target + i * to[1] + channel] = toByte(sum);
      }
    }
  }
}

function horizontalPass({ pixels, top, left, height, width }: Part, taps: readonly Taps[], start: number): Part {
  const wide = taps.length;
  const result = new Uint8Array(height * wide * 3);
  pass(pixels, result, taps, height, left, [width * 3, 3], [wide * 3, 3]);
  return { pixels: result, top, left: start, height, width: wide };
}

function verticalPass({ pixels, top, left, width }: Part, taps: readonly Taps[], start: number): Part {
  const tall = taps.length;
  const result = new Uint8Array(tall * width * 3);
  pass(pixels, result, taps, width, top, [3, width * 3], [3, width * 3]);
  return { pixels: result, top: start, left, height: tall, width };
}

/** The rows `start … end − 1` of a picture. */
function rowsOf({ pixels, left, width }: Part, start: number, end: number): Part {
  return { pixels: pixels.subarray(start * width * 3, end * width * 3), top: start, left, height: end - start, width };
}

/** The columns `start … end − 1` of a picture. */
function columnsOf({ pixels, top, height, width }: Part, start: number, end: number): Part {
  const wide = end - start;
  const result = new Uint8Array(height * wide * 3);
  for (let y = 0; y < height; y++) result.set(pixels.subarray((y * width + start) * 3, (y * width + end) * 3), y * wide * 3);
  return { pixels: result, top, left: start, height, width: wide };
}

/** A part of a picture: rows from `top`, columns from `left`. */
export interface Window {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
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
 * @param window What is wanted of the result, `[window.height, window.width, 3]`; nothing else is computed. Default: all.
 */
export function resizePillow(
  image: Uint8Array,
  from: readonly [height: number, width: number],
  to: readonly [height: number, width: number],
  rule: "pillow-12" | "pillow-13" = "pillow-12",
  window: Window = { top: 0, left: 0, height: to[0], width: to[1] },
): Uint8Array {
  const [height, width] = from;
  const [newHeight, newWidth] = to;
  const vertical = newHeight === height ? undefined : integerTaps(height, newHeight, window.top, window.height);
  const horizontal = newWidth === width ? undefined : integerTaps(width, newWidth, window.left, window.width);
  const rows = vertical === undefined ? { start: window.top, end: window.top + window.height } : tapsRange(vertical);
  const columns = horizontal === undefined ? { start: window.left, end: window.left + window.width } : tapsRange(horizontal);
  let part = rowsOf({ pixels: image, top: 0, left: 0, height, width }, rows.start, rows.end);
  if (columns.start > 0 || columns.end < width) part = columnsOf(part, columns.start, columns.end);
  const isVerticalFirst = rule === "pillow-13" && newHeight < height && 2 * (width - newWidth) < height - newHeight;
  if (vertical !== undefined && isVerticalFirst) part = verticalPass(part, vertical, window.top);
  if (horizontal !== undefined) part = horizontalPass(part, horizontal, window.left);
  if (vertical !== undefined && !isVerticalFirst) part = verticalPass(part, vertical, window.top);
  return part.pixels;
}
