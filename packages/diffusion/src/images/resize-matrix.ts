import { type Tensor, constant, resize2d, slice } from "@tastemaker/tensor";

/** A row-major matrix of float64 numbers. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** Keys' cubic convolution kernel. */
function cubic(x: number, a: number): number {
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
  return 0;
}

/** The inputs that one output depends on: from `first` on, one weight each. */
export interface Taps {
  readonly first: number;
  readonly weights: Float64Array;
}

type Rounding = (value: number) => number;
const exactly: Rounding = (value) => value;

/**
 * Outputs `start … start + count − 1` of one axis of the antialiased cubic resize (a = −½) that Pillow and torch (`antialias=True`) compute.
 *
 * With scale = from/to, f = max(scale, 1), support = 2f and centre c = (i + ½)·scale, output i takes inputs
 * trunc(c − support + ½) … trunc(c + support + ½) − 1 (inside the picture) with weights k((j − c + ½)/f), divided by their sum.
 *
 * @param round `Math.fround` rounds where torch does for float32 pictures: far from the origin, c loses digits that can be seen in the weights.
 */
export function antialiasedCubicTaps(from: number, to: number, start: number = 0, count: number = to, round: Rounding = exactly): Taps[] {
  const scale = round(from / to);
  const filter = Math.max(scale, 1);
  const support = round(2 * filter);
  return Array.from({ length: count }, (_, row) => {
    const center = round((start + row + 0.5) * scale);
    const first = Math.max(Math.trunc(round(center - support) + 0.5), 0);
    const weights = new Float64Array(Math.min(Math.trunc(round(center + support) + 0.5), from) - first);
    let total = 0;
    for (let j = 0; j < weights.length; j++) {
      const value = cubic(round(round(first + j - center) + 0.5) / filter, -0.5);
      weights[j] = value;
      total += value;
    }
    return { first, weights: weights.map((value) => value / total) };
  });
}

/**
 * One axis of the plain cubic resize (torch `antialias=False`), a = −¾: four taps around (i + ½)·scale − ½, indices clamped to the border.
 * @param round As for `antialiasedCubicTaps`.
 */
export function plainCubicTaps(from: number, to: number, round: Rounding = exactly): Taps[] {
  const scale = round(from / to);
  const inside = (j: number): number => Math.min(Math.max(j, 0), from - 1);
  return Array.from({ length: to }, (_, i) => {
    const source = round(round(scale * (i + 0.5)) - 0.5);
    const base = Math.floor(source);
    const first = inside(base - 1);
    const weights = new Float64Array(inside(base + 2) - first + 1);
    for (let j = base - 1; j <= base + 2; j++) weights[inside(j) - first]! += cubic(source - j, -0.75);
    return { first, weights };
  });
}

/** Taps as a matrix `[taps, columns]` over the inputs `from … from + columns − 1`, which hold all of them. */
function matrixOf(taps: readonly Taps[], columns: number, from: number = 0): Matrix {
  const data = new Float64Array(taps.length * columns);
  for (const [row, { first, weights }] of taps.entries()) data.set(weights, row * columns + first - from);
  return { rows: taps.length, columns, data };
}

/** `antialiasedCubicTaps` of a whole axis as a matrix `[to, from]`. */
export function antialiasedCubicMatrix(from: number, to: number): Matrix {
  return matrixOf(antialiasedCubicTaps(from, to), from);
}

/** `plainCubicTaps` as a matrix `[to, from]`. */
export function plainCubicMatrix(from: number, to: number): Matrix {
  return matrixOf(plainCubicTaps(from, to), from);
}

/** The inputs `start … end − 1` that some outputs depend on. */
export function tapsRange(taps: readonly Taps[]): { readonly start: number; readonly end: number } {
  // Both ends grow with the output.
  const last = taps.at(-1)!;
  return { start: taps[0]!.first, end: last.first + last.weights.length };
}

/** Height and width after resizing the shorter side to `size`: the longer side is truncated, as Pillow, torchvision and transformers do. */
export function shorterSideSize(height: number, width: number, size: number): readonly [number, number] {
  return height <= width ? [size, Math.trunc((size * width) / height)] : [Math.trunc((size * height) / width), size];
}

/** Half of `surplus` rounded to the even neighbour: torchvision's, OpenAI's and BLIP's centre crop. */
function halfEven(surplus: number): number {
  const half = Math.floor(surplus / 2);
  return surplus % 2 === 0 ? half : half + (half % 2);
}

/** Where an odd surplus is cut: `floor` as transformers, `half-even` as torchvision, OpenAI and BLIP. */
export type CropRule = "floor" | "half-even";

/** First of the `size` middle ones of `length` pixels. */
export function centerCropStart(length: number, size: number, crop: CropRule): number {
  return crop === "floor" ? Math.floor((length - size) / 2) : halfEven(length - size);
}

/** One axis of resizing and cropping: which inputs are needed, and the matrix that takes these to the outputs. */
export interface CroppedAxis {
  readonly start: number;
  readonly end: number;
  readonly matrix: Matrix;
}

/**
 * The two axes of taking a picture to `size × size`: antialiased cubic resize of its shorter side (also when that enlarges), then centre crop. Only what the crop shows is
 * computed: a long narrow picture would grow beyond any memory.
 */
export function shorterSideAxes(height: number, width: number, size: number, crop: CropRule = "floor"): { rows: CroppedAxis; columns: CroppedAxis } {
  const [tall, wide] = shorterSideSize(height, width, size);
  const axis = (from: number, to: number): CroppedAxis => {
    const taps = antialiasedCubicTaps(from, to, centerCropStart(to, size, crop), size);
    const { start, end } = tapsRange(taps);
    return { start, end, matrix: matrixOf(taps, end - start, start) };
  };
  return { rows: axis(height, tall), columns: axis(width, wide) };
}

/** A matrix as a constant of a program. */
export function matrixConstant(matrix: Matrix): Tensor {
  return constant(matrix.data, [matrix.rows, matrix.columns]);
}

/**
 * A picture `[B, C, H, W]` at `size × size`: shorter side resized, centre cropped. Linear, so nothing is clamped: values may leave the input's
 * range at hard edges.
 */
export function resizedShorterSide(image: Tensor, size: number, crop: CropRule = "floor"): Tensor {
  const [, , height, width] = image.shape as readonly [number, number, number, number];
  if (height === size && width === size) return image;
  const { rows, columns } = shorterSideAxes(height, width, size, crop);
  const part = slice(image, [0, 0, rows.start, columns.start], [image.shape[0]!, image.shape[1]!, rows.end, columns.end]);
  return resize2d(part, matrixConstant(rows.matrix), matrixConstant(columns.matrix));
}
