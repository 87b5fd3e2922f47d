import { type Tensor, constant, resize2d } from "@tastemaker/tensor";

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

/**
 * One axis of the antialiased cubic resize (a = −½) that Pillow and torch (`antialias=True`) compute, as a matrix `[to, from]`.
 *
 * With scale = from/to, f = max(scale, 1), support = 2f and centre c = (i + ½)·scale, output i takes inputs
 * trunc(c − support + ½) … trunc(c + support + ½) − 1 (inside the picture) with weights k((j − c + ½)/f), divided by their sum.
 */
export function antialiasedCubicMatrix(from: number, to: number): Matrix {
  const data = new Float64Array(to * from);
  const scale = from / to;
  const filter = Math.max(scale, 1);
  const support = 2 * filter;
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) * scale;
    const low = Math.max(Math.trunc(center - support + 0.5), 0);
    const high = Math.min(Math.trunc(center + support + 0.5), from);
    let total = 0;
    for (let j = low; j < high; j++) {
      const value = cubic((j - center + 0.5) / filter, -0.5);
      data[i * from + j] = value;
      total += value;
    }
    for (let j = low; j < high; j++) data[i * from + j]! /= total;
  }
  return { rows: to, columns: from, data };
}

/**
 * One axis of the plain cubic resize (torch `antialias=False`), a = −¾: four taps around (i + ½)·scale − ½, indices clamped to the border.
 */
export function plainCubicMatrix(from: number, to: number): Matrix {
  const data = new Float64Array(to * from);
  const scale = from / to;
  for (let i = 0; i < to; i++) {
    const source = (i + 0.5) * scale - 0.5;
    const base = Math.floor(source);
    for (let j = base - 1; j <= base + 2; j++) {
      data[i * from + Math.min(Math.max(j, 0), from - 1)]! += cubic(source - j, -0.75);
    }
  }
  return { rows: to, columns: from, data };
}

/** Rows `start … start + count − 1` of a matrix: resizing followed by cropping. */
export function matrixRows(matrix: Matrix, start: number, count: number): Matrix {
  const { columns, data } = matrix;
  return { rows: count, columns, data: data.slice(start * columns, (start + count) * columns) };
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

/**
 * The two matrices that take a picture to `size × size`: antialiased cubic resize of its shorter side (also when that enlarges), then centre crop.
 */
export function shorterSideMatrices(height: number, width: number, size: number, crop: CropRule = "floor"): { rows: Matrix; columns: Matrix } {
  const [tall, wide] = shorterSideSize(height, width, size);
  const start = (length: number): number => centerCropStart(length, size, crop);
  return {
    rows: matrixRows(antialiasedCubicMatrix(height, tall), start(tall), size),
    columns: matrixRows(antialiasedCubicMatrix(width, wide), start(wide), size),
  };
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
  const { rows, columns } = shorterSideMatrices(height, width, size, crop);
  return resize2d(image, matrixConstant(rows), matrixConstant(columns));
}
