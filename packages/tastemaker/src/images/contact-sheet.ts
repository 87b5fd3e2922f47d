import { type Picture, pictureOf } from "@tastemaker/diffusion";
import sharp from "sharp";

/** A picture as PNG. */
export function encodePng({ pixels, width, height }: Picture): Promise<Uint8Array> {
  return sharp(pixels, { raw: { width, height, channels: 3 } }).png().toBuffer();
}

/** Several pictures in a grid, as PNG. `pictures` planar [3, side, side] in [0, 1] each; `zoom` repeats pixels. */
export function contactSheet(pictures: readonly ArrayLike<number>[], side: number, columns: number, zoom = 2): Promise<Uint8Array> {
  const count = pictures.length;
  const rows = Math.ceil(count / columns);
  const cell = side + 2;
  const [width, height] = [columns * cell, rows * cell];
  const bytes = new Uint8Array(width * height * 3).fill(255);
  for (let n = 0; n < count; n++) {
    const picture = pictureOf(pictures[n]!, side, side).pixels;
    const [left, top] = [(n % columns) * cell + 1, Math.floor(n / columns) * cell + 1];
    for (let y = 0; y < side; y++) bytes.set(picture.subarray(y * side * 3, (y + 1) * side * 3), ((top + y) * width + left) * 3);
  }
  return sharp(bytes, { raw: { width, height, channels: 3 } })
    .resize(width * zoom, height * zoom, { kernel: "nearest" })
    .png()
    .toBuffer();
}
