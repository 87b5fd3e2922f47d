import { clamp, constant, div, pad, resize2d, sub, type Tensor, UsageError } from "@tastemaker/tensor";
import type { Picture } from "./picture.ts";
import { resizePillow } from "./pillow-resize.ts";
import { antialiasedCubicMatrix, antialiasedCubicTaps, centerCropStart, type CropRule, matrixConstant, plainCubicMatrix, plainCubicTaps, resizedShorterSide, shorterSideSize, type Taps, tapsRange } from "./resize-matrix.ts";

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

/** Interleaved pixels `[size, size, 3]` as normalised planar values. */
function normalizedPixels(pixels: Uint8Array, size: number, statistics: PixelStatistics): Float32Array {
  const normalize = normalizer(statistics);
  const values = new Float32Array(3 * size * size);
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < size * size; i++) values[c * size * size + i] = normalize(pixels[3 * i + c]! / 255, c);
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
      const window = { top: centerCropStart(tall, size, crop), left: centerCropStart(wide, size, crop), height: size, width: size };
      return normalizedPixels(resizePillow(pixels, [height, width], [tall, wide], "pillow-12", window), size, statistics);
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

/** Both axes of one plane of an interleaved picture `[H, W, 3]`, in real numbers of 0 to 1. */
function resizePlane({ width, pixels }: Picture, channel: number, rows: readonly Taps[], columns: readonly Taps[]): Float64Array {
  const wide = columns.length;
  const { start, end } = tapsRange(rows);
  const half = new Float64Array((end - start) * wide);
  for (let y = start; y < end; y++) {
    for (const [x, { first, weights }] of columns.entries()) {
      let sum = 0;
      for (let j = 0, at = (y * width + first) * 3 + channel; j < weights.length; j++, at += 3) sum += (weights[j]! * pixels[at]!) / 255;
      half[(y - start) * wide + x] = sum;
    }
  }
  const result = new Float64Array(rows.length * wide);
  for (const [y, { first, weights }] of rows.entries()) {
    for (const [j, weight] of weights.entries()) {
      for (let x = 0; x < wide; x++) result[y * wide + x]! += weight * half[(first - start + j) * wide + x]!;
    }
  }
  return result;
}

/**
 * HPSv2's rule: longer side to `size`, cubic on real numbers, padded with black (before normalising) to a square, the odd pixel at the bottom or right.
 * A picture so narrow that nothing of it would be left is refused with `picture-shape`.
 * Where the result is one pixel wide, torch (2.15, antialiased, on a CPU) repeats its first row downwards; the library path does so, too.
 * A picture whose longer side already is `size` is not resized; HPSv2 does not pad it either, so that a picture that is not square does not fit the model there; here it is padded.
 *
 * @param isAntialiased false: as torchvision before 0.17 resized tensors by default.
 */
export function longerSidePad(size: number, isAntialiased: boolean = true, statistics: PixelStatistics = clipStatistics): Preprocessing {
  const matrix = isAntialiased ? antialiasedCubicMatrix : plainCubicMatrix;
  const taps = (from: number, to: number): Taps[] => (isAntialiased ? antialiasedCubicTaps(from, to, 0, to, fround) : plainCubicTaps(from, to, fround));
  const place = (height: number, width: number): { tall: number; wide: number; top: number; left: number } => {
    const [tall, wide] = longerSideSize(height, width, size);
    if (tall < 1 || wide < 1) {
      throw new UsageError("picture-shape", `picture: expected a shorter side of at least 1 pixel after the longer is brought to ${size}, got ${height}×${width} pixels`, "crop the picture");
    }
    return { tall, wide, top: Math.floor((size - tall) / 2), left: Math.floor((size - wide) / 2) };
  };
  return {
    size,
    describe: `longer side to ${size} (bicubic${isAntialiased ? ", antialiased" : ", not antialiased"}), padded with black`,
    pixelValues: (picture) => {
      const { height, width } = picture;
      const { tall, wide, top, left } = place(height, width);
      const [rows, columns] = [taps(height, tall), taps(width, wide)];
      const normalize = normalizer(statistics);
      const values = new Float32Array(3 * size * size);
      for (let c = 0; c < 3; c++) {
        values.fill(normalize(0, c), c * size * size, (c + 1) * size * size);
        const resized = resizePlane(picture, c, rows, columns);
        if (isAntialiased && wide === 1) resized.fill(resized[0]!);
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
