import { uniform } from "@tastemaker/tensor";

/** `[channels, height, width]` of a picture as a network reads it. */
type PictureShape = readonly [number, number, number];

/** Mirrors a picture of a batch left to right, in place. */
export function mirrorRow(values: Float32Array, row: number, [channels, height, width]: PictureShape): void {
  const start = row * channels * height * width;
  for (let line = 0; line < channels * height; line++) values.subarray(start + line * width, start + (line + 1) * width).reverse();
}

/** Moves a picture of a batch right by `dx` and down by `dy` pixels, in place; what comes in repeats its edge. */
export function shiftRow(values: Float32Array, row: number, [channels, height, width]: PictureShape, dx: number, dy: number): void {
  const size = channels * height * width;
  const picture = values.subarray(row * size, (row + 1) * size);
  const before = picture.slice();
  const inside = (at: number, length: number): number => Math.min(length - 1, Math.max(0, at));
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      const [to, from] = [(channel * height + y) * width, (channel * height + inside(y - dy, height)) * width];
      for (let x = 0; x < width; x++) picture[to + x] = before[from + inside(x - dx, width)]!;
    }
  }
}

/** How pictures are changed from visit to visit, so that few of them are not learnt by heart. */
export interface Augmentation {
  /** Half of all visits show a prompt's pictures mirrored. */
  readonly mirror: boolean;
  /** Moves a prompt's pictures by up to so many of the network's pixels each way. */
  readonly shift: number;
}

/**
 * Changes a batch's pictures in place: all pictures of a prompt alike, so that a pair stays a pair of equals. A pure function of (seed, step).
 * @param prompts Of the rows. @param step Address of the draws.
 */
export function augment(values: Float32Array, shape: PictureShape, prompts: readonly string[], { mirror, shift }: Augmentation, seed: number, step: number): void {
  const draws = uniform({ seed, stream: "fit-augment", indices: [step] }, 3 * prompts.length);
  const first = new Map<string, number>();
  for (const [row, prompt] of prompts.entries()) {
    const own = first.get(prompt) ?? row;
    first.set(prompt, own);
    if (mirror && draws[3 * own]! < 0.5) mirrorRow(values, row, shape);
    const move = (draw: number): number => Math.floor(draw * (2 * shift + 1)) - shift;
    if (shift > 0) shiftRow(values, row, shape, move(draws[3 * own + 1]!), move(draws[3 * own + 2]!));
  }
}
