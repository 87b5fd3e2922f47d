import type { Picture } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import sharp from "sharp";
import type { Reward } from "./reward.ts";

/** The JFIF header (APP0), which Pillow writes and libvips leaves out. */
const jfifHeaderBytes = 18;

/**
 * Size of a picture as a JPEG file, in kB (1000 bytes): quality 95, colour at half resolution, the standard Huffman tables. Equal to the byte to what Pillow 13 saves with
 * `format="JPEG", quality=95`.
 */
export async function jpegKilobytes({ pixels, width, height }: Picture): Promise<number> {
  const file = await sharp(pixels, { raw: { width, height, channels: 3 } }).jpeg({ quality: 95, chromaSubsampling: "4:2:0", optimiseCoding: false }).toBuffer();
  return (file.length + jfifHeaderBytes) / 1000;
}

const kinds = {
  compressibility: { sign: -1, typicalRange: [-200, 0], describe: "Minus the size of the picture as a JPEG: higher for smooth, plain pictures." },
  incompressibility: { sign: 1, typicalRange: [0, 200], describe: "Size of the picture as a JPEG: higher for detail and noise." },
} as const;

/** Whether a name is one of the two. */
export function isJpegReward(name: string): name is keyof typeof kinds {
  return Object.hasOwn(kinds, name);
}

/** Names of the JPEG rewards. */
export const jpegRewardNames: readonly string[] = Object.keys(kinds);

/**
 * How well, or how badly, a picture can be compressed. Numbers only: a file size has no gradient.
 * @throws UsageError `reward-path`
 */
export function jpegReward(name: keyof typeof kinds, path?: string): Reward {
  if (path !== undefined) throw new UsageError("reward-path", `reward ${name}: expected no path, because it has no weights, got ${path}`, "leave it out");
  const { sign, typicalRange, describe } = kinds[name];
  return {
    name,
    unit: sign < 0 ? "minus kB of the JPEG at quality 95" : "kB of the JPEG at quality 95",
    // Of 512 × 512 pixels; a size grows with the area.
    typicalRange,
    source: "Black et al. 2023, Training Diffusion Models with Reinforcement Learning (DDPO), compressibility and incompressibility",
    needsText: false,
    describe,
    preprocessing: "8-bit RGB, saved as JPEG at quality 95 with 4:2:0 colour and the standard Huffman tables",
    files: [],
    score: (pictures) => Promise.all(pictures.map(async (picture) => sign * (await jpegKilobytes(picture)))),
    dispose: () => Promise.resolve(),
  };
}
