import { UsageError } from "@tastemaker/tensor";

/** An 8-bit RGB picture, as it is stored and shown. */
export interface Picture {
  readonly height: number;
  readonly width: number;
  /** `[height, width, 3]`, interleaved. */
  readonly pixels: Uint8Array;
}

/** Values in [0, 1] (others are clamped), planar `[3, height, width]`, as a picture; halves are rounded up. */
export function pictureOf(planar: ArrayLike<number>, height: number, width: number): Picture {
  const plane = height * width;
  if (planar.length !== 3 * plane) throw new UsageError("picture-size", `picture: expected ${3 * plane} numbers for ${height}×${width} pixels, got ${planar.length}`);
  const pixels = new Uint8Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) pixels[3 * i + c] = Math.round(255 * Math.min(1, Math.max(0, planar[c * plane + i]!)));
  }
  return { height, width, pixels };
}

/** The picture's values x/255, planar `[3, height, width]`. */
export function planarOf({ height, width, pixels }: Picture): Float32Array {
  const plane = height * width;
  const planar = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) planar[c * plane + i] = pixels[3 * i + c]! / 255;
  }
  return planar;
}
