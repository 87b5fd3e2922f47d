import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Picture } from "@tastemaker/diffusion";
import sharp from "sharp";
import { resolvePrompts } from "../data/prompt-lists.ts";
import { cutSheet, cutSquare, sheetColumns } from "../images/contact-sheet.ts";
import { readPicture } from "../images/read-picture.ts";
import { sheetName } from "../logs/run-events.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { runPaths } from "../storage/run-directory.ts";
import { sheetPictures } from "../train/evaluation.ts";
import { type ExperimentPaths, specPaths } from "./paths.ts";
import { baseOf, type RunSpec } from "./run-record.ts";

/** Pictures of a run that are kept for figures, at most. */
export const keptPictures = 8;

/** Square pictures of one size side by side. */
function stripOf(pictures: readonly Picture[]): Picture {
  const side = pictures[0]!.height;
  const width = side * pictures.length;
  const pixels = new Uint8Array(3 * width * side);
  for (const [n, picture] of pictures.entries()) {
    for (let y = 0; y < side; y++) pixels.set(picture.pixels.subarray(3 * y * side, 3 * (y + 1) * side), 3 * (y * width + n * side));
  }
  return { pixels, width, height: side };
}

/** The pictures of a strip. */
export function cutStrip(strip: Picture): Picture[] {
  const { width, height: side } = strip;
  return Array.from({ length: Math.floor(width / side) }, (_, n) => cutSquare(strip, n * side, 0, side));
}

/** Whether a run's pictures are shown in a figure: of each row of Table 1 the first seed, and the animals. */
export function isShown({ part, seed, isScored }: RunSpec): boolean {
  return seed === 1 && (isScored || part === "animals");
}

/** @param count Pictures of the sheet. */
async function keep(from: string, to: string, count: number): Promise<void> {
  // A run that broke off has no last evaluation.
  if (!existsSync(from)) return;
  const { pixels, width, height } = stripOf(cutSheet(await readPicture(from, from), count, sheetColumns(count), keptPictures));
  await ensureFolder(dirname(to));
  await writeFileAtomic(to, await sharp(pixels, { raw: { width, height, channels: 3 } }).webp({ quality: 92 }).toBuffer());
}

/** Keeps the first pictures of a run's last evaluation, and those of the untrained model on the same prompts and noise, small enough to be committed. */
export async function keepPictures(spec: RunSpec, paths: ExperimentPaths): Promise<void> {
  if (!isShown(spec)) return;
  const { run, picture, basePicture } = specPaths(paths, spec.id);
  const { samples } = runPaths(run);
  const { "evaluation.prompts": prompts, "evaluation.count": evaluated } = spec.settings as { "evaluation.prompts": string | readonly string[]; "evaluation.count": number };
  const count = (await resolvePrompts(prompts, Math.min(sheetPictures, evaluated))).prompts.length;
  const base = basePicture(baseOf(spec.method), spec.part === "animals");
  if (!existsSync(base)) await keep(join(samples, sheetName(0)), base, count);
  await keep(join(samples, sheetName(spec.iterations)), picture, count);
}

/** Kept pictures; undefined where there are none. */
export async function readStrip(path: string): Promise<Picture[] | undefined> {
  return existsSync(path) ? cutStrip(await readPicture(path, path)) : undefined;
}
