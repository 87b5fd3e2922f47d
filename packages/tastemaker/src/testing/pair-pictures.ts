import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { uniform } from "@tastemaker/tensor";
import sharp from "sharp";

/** Writes plain pictures of 8×8 pixels, `pictures/0.png` and so on. @returns how red each is */
export async function writePictures(folder: string, count: number): Promise<number[]> {
  await mkdir(join(folder, "pictures"), { recursive: true });
  const draws = uniform({ seed: 3, stream: "pictures", indices: [] }, 3 * count);
  const redness: number[] = [];
  for (let i = 0; i < count; i++) {
    const [r, g, b] = [0, 1, 2].map((c) => Math.round(255 * draws[3 * i + c]!)) as [number, number, number];
    redness.push(r - (g + b) / 2);
    await sharp({ create: { width: 8, height: 8, channels: 3, background: { r, g, b } } }).png().toFile(join(folder, "pictures", `${i}.png`));
  }
  return redness;
}
