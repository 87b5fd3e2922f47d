import { clamp, constant, div, pad, resize2d, sub, type Tensor } from "@tastemaker/tensor";
import type { Picture } from "./picture.ts";
import { resizePillow } from "./pillow-resize.ts";
import { antialiasedCubicMatrix, centerCropStart, type CropRule, type Matrix, matrixConstant, plainCubicMatrix, resizedShorterSide, shorterSideSize } from "./resize-matrix.ts";

/** Pixel statistics of a model: x → (x − mean)/std per channel. */
export interface PixelStatistics {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** OpenAI's, used by every CLIP and BLIP reward model. */
export const clipStatistics: PixelStatistics = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] };

/** How pictures of any size become the input of a reward model: two paths of one rule. */
export interface Preprocessing {
  /** Side of the result. */
  readonly size: number;
  /** The rule in words, to be recorded beside every score. */
  readonly describe: string;
  /** The library path: what the reference implementation makes of an 8-bit picture, `[3, size, size]`, normalised. */
  pixelValues(picture: Picture): Float32Array;
  /**
   * The differentiable path: `[B, 3, H, W]` in [0, 1] → `[B, 3, size, size]`, normalised. Linear, so values may leave [0, 1] at hard edges.
   * @param isClamped Clamps to [0, 1] once, before normalising.
   */
  trace(image: Tensor, isClamped?: boolean): Tensor;
}

/** `[B, 3, H, W]` in [0, 1] to pixel values (x − mean)/std. */
export function normalizePixels(image: Tensor, { mean, std }: PixelStatistics = clipStatistics): Tensor {
  return div(sub(image, constant(mean, [1, 3, 1, 1])), constant(std, [1, 3, 1, 1]));
}

const normalized = (image: Tensor, statistics: PixelStatistics, isClamped: boolean): Tensor => normalizePixels(isClamped ? clamp(image, 0, 1) : image, statistics);

const { fround } = Math;

/** (x − mean)/std with every step rounded to float32, as the libraries compute it. */
function normalizer({ mean, std }: PixelStatistics): (value: number, channel: number) => number {
  const [m, s] = [Float32Array.from(mean), Float32Array.from(std)];
  return (value, channel) => fround(fround(fround(value) - m[channel]!) / s[channel]!);
}

/** A window of an interleaved picture as normalised planar values. */
function normalizedWindow({ width, pixels }: Picture, [top, left]: readonly [number, number], size: number, statistics: PixelStatistics): Float32Array {
  const normalize = normalizer(statistics);
  const values = new Float32Array(3 * size * size);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) values[(c * size + y) * size + x] = normalize(pixels[((top + y) * width + left + x) * 3 + c]! / 255, c);
    }
  }
  return values;
}

/**
 * PickScore's, CLIP's and BLIP's rule: shorter side to `size` by Pillow's bicubic filter (8 bits), centre crop.
 *
 * @param crop `floor` as transformers, `half-even` as torchvision, OpenAI and BLIP.
 */
export function shorterSideCrop(size: number, crop: CropRule, statistics: PixelStatistics = clipStatistics): Preprocessing {
  return {
    size,
    describe: `shorter side to ${size} (bicubic, antialiased), centre crop (${crop})`,
    pixelValues: ({ height, width, pixels }) => {
      const [tall, wide] = shorterSideSize(height, width, size);
      const resized = { height: tall, width: wide, pixels: resizePillow(pixels, [height, width], [tall, wide]) };
      return normalizedWindow(resized, [centerCropStart(tall, size, crop), centerCropStart(wide, size, crop)], size, statistics);
    },
    trace: (image, isClamped = false) => normalized(resizedShorterSide(image, size, crop), statistics, isClamped),
  };
}

/** Rounds to the nearest integer, halves to the even one, as Python's `round` does. */
function roundHalfEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** Height and width after the longer side has been brought to `size` (HPSv2's `ResizeMaxSize`). */
export function longerSideSize(height: number, width: number, size: number): readonly [number, number] {
  const scale = size / Math.max(height, width);
  return [roundHalfEven(height * scale), roundHalfEven(width * scale)];
}

/** rows · plane · columnsᵀ, skipping the matrices' zeros. */
function resizePlane(plane: (y: number, x: number) => number, rows: Matrix, columns: Matrix): Float64Array {
  const wide = Array.from({ length: columns.rows }, (_, x) => taps(columns, x));
  const half = new Float64Array(rows.columns * columns.rows);
  for (let y = 0; y < rows.columns; y++) {
    for (const [x, pairs] of wide.entries()) {
      let sum = 0;
      for (const [j, weight] of pairs) sum += weight * plane(y, j);
      half[y * columns.rows + x] = sum;
    }
  }
  const result = new Float64Array(rows.rows * columns.rows);
  for (let y = 0; y < rows.rows; y++) {
    for (const [j, weight] of taps(rows, y)) {
      for (let x = 0; x < columns.rows; x++) result[y * columns.rows + x]! += weight * half[j * columns.rows + x]!;
    }
  }
  return result;
}

function taps({ columns, data }: Matrix, row: number): (readonly [column: number, weight: number])[] {
  const found: [number, number][] = [];
  for (let j = 0; j < columns; j++) if (data[row * columns + j] !== 0) found.push([j, data[row * columns + j]!]);
  return found;
}

/**
 * HPSv2's rule: longer side to `size`, cubic on real numbers, padded with black (before normalising) to a square, the odd pixel at the bottom or right.
 * A picture whose longer side already is `size` is not resized; HPSv2 does not pad it either, so that a picture that is not square does not fit the model there; here it is padded.
 *
 * @param isAntialiased false: as torchvision before 0.17 resized tensors by default.
 */
export function longerSidePad(size: number, isAntialiased: boolean = true, statistics: PixelStatistics = clipStatistics): Preprocessing {
  const matrix = isAntialiased ? antialiasedCubicMatrix : plainCubicMatrix;
  const place = (height: number, width: number): { tall: number; wide: number; top: number; left: number } => {
    const [tall, wide] = longerSideSize(height, width, size);
    return { tall, wide, top: Math.floor((size - tall) / 2), left: Math.floor((size - wide) / 2) };
  };
  return {
    size,
    describe: `longer side to ${size} (bicubic${isAntialiased ? ", antialiased" : ", not antialiased"}), padded with black`,
    pixelValues: ({ height, width, pixels }) => {
      const { tall, wide, top, left } = place(height, width);
      const [rows, columns] = [matrix(height, tall), matrix(width, wide)];
      const normalize = normalizer(statistics);
      const values = new Float32Array(3 * size * size);
      for (let c = 0; c < 3; c++) {
        values.fill(normalize(0, c), c * size * size, (c + 1) * size * size);
        const resized = resizePlane((y, x) => pixels[(y * width + x) * 3 + c]! / 255, rows, columns);
        for (let y = 0; y < tall; y++) {
          for (let x = 0; x < wide; x++) values[(c * size + top + y) * size + left + x] = normalize(resized[y * wide + x]!, c);
        }
      }
      return values;
    },
    trace: (image, isClamped = false) => {
      const [, , height, width] = image.shape as readonly [number, number, number, number];
      const { tall, wide, top, left } = place(height, width);
      const resized = tall === height && wide === width ? image : resize2d(image, matrixConstant(matrix(height, tall)), matrixConstant(matrix(width, wide)));
      const square = tall === size && wide === size ? resized : pad(resized, [0, 0, top, left], [0, 0, size - tall - top, size - wide - left]);
      return normalized(square, statistics, isClamped);
    },
  };
}
