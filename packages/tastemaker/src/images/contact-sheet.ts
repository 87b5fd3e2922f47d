import sharp from "sharp";

/** Values in [0, 1] (others are clamped) as interleaved 8-bit RGB: planar [3, side, side] → side·side·3 bytes. */
export function toBytes(planar: ArrayLike<number>, side: number, offset = 0): Uint8Array {
  const plane = side * side;
  const bytes = new Uint8Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) bytes[3 * i + c] = Math.round(255 * Math.min(1, Math.max(0, planar[offset + c * plane + i]!)));
  }
  return bytes;
}

/** One picture as PNG. `planar` [3, side, side] in [0, 1]. */
export function encodePng(planar: ArrayLike<number>, side: number, offset = 0): Promise<Uint8Array> {
  return sharp(toBytes(planar, side, offset), { raw: { width: side, height: side, channels: 3 } }).png().toBuffer();
}

/** Several pictures in a grid, as PNG. `pictures` planar [3, side, side] in [0, 1] each; `zoom` repeats pixels. */
export function contactSheet(pictures: readonly ArrayLike<number>[], side: number, columns: number, zoom = 2): Promise<Uint8Array> {
  const count = pictures.length;
  const rows = Math.ceil(count / columns);
  const cell = side + 2;
  const [width, height] = [columns * cell, rows * cell];
  const bytes = new Uint8Array(width * height * 3).fill(255);
  for (let n = 0; n < count; n++) {
    const picture = toBytes(pictures[n]!, side);
    const [left, top] = [(n % columns) * cell + 1, Math.floor(n / columns) * cell + 1];
    for (let y = 0; y < side; y++) bytes.set(picture.subarray(y * side * 3, (y + 1) * side * 3), ((top + y) * width + left) * 3);
  }
  return sharp(bytes, { raw: { width, height, channels: 3 } })
    .resize(width * zoom, height * zoom, { kernel: "nearest" })
    .png()
    .toBuffer();
}
