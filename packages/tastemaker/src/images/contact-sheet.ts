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

/** Columns of a run's sheets. */
export function sheetColumns(count: number): number {
  return Math.min(4, count);
}

/** Whether a sheet's pixels were repeated: then each equals its right neighbour. */
function isDoubled({ pixels, width, height }: Picture): boolean {
  for (let at = 0; at + 5 < 3 * width * height; at += 6) if (pixels[at] !== pixels[at + 3] || pixels[at + 1] !== pixels[at + 4] || pixels[at + 2] !== pixels[at + 5]) return false;
  return width % 2 === 0;
}

/** A square of `side`² pixels of a picture, `zoom` pixels apart. */
export function cutSquare({ pixels, width }: Picture, left: number, top: number, side: number, zoom = 1): Picture {
  const cut = new Uint8Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const from = 3 * ((top + y * zoom) * width + left + x * zoom);
      cut.set(pixels.subarray(from, from + 3), 3 * (y * side + x));
    }
  }
  return { pixels: cut, width: side, height: side };
}

/** The first pictures of a `contactSheet` (zoom 1 or 2) of `count` pictures in so many columns. Throws `RangeError` for a picture that is no such sheet. */
export function cutSheet(sheet: Picture, count: number, columns: number, first: number = count): Picture[] {
  const { width, height } = sheet;
  const zoom = isDoubled(sheet) ? 2 : 1;
  const cell = width / columns / zoom;
  const side = cell - 2;
  if (!Number.isInteger(cell) || side < 1 || height !== Math.ceil(count / columns) * cell * zoom) throw new RangeError(`sheet: expected ${count} square pictures in ${columns} columns, got ${width}×${height} pixels`);
  return Array.from({ length: Math.min(first, count) }, (_, n) => {
    const [left, top] = [(n % columns) * cell + 1, Math.floor(n / columns) * cell + 1];
    return cutSquare(sheet, left * zoom, top * zoom, side, zoom);
  });
}
