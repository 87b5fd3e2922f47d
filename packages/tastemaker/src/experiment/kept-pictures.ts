import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Picture } from "@tastemaker/diffusion";
import sharp from "sharp";
import { readPicture } from "../images/read-picture.ts";
import { sheetName } from "../logs/run-events.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { runPaths } from "../storage/run-directory.ts";
import { type ExperimentPaths, specPaths } from "./paths.ts";
import { baseOf, type RunSpec } from "./run-record.ts";

/** Pictures of a run that are kept for figures. */
export const keptPictures = 8;
/** Layout of a run's own sheets (`Evaluator.sheet`): four columns, a frame of one pixel, every pixel twice. */
const sheet = { columns: 4, frame: 1, zoom: 2 } as const;

/** The first pictures of a sheet side by side. Null where the sheet holds fewer or is laid out otherwise, as that of large pictures is. */
export function stripOfSheet({ pixels, width, height }: Picture): Picture | null {
  const cell = width / sheet.columns / sheet.zoom;
  const side = cell - 2 * sheet.frame;
  const rows = keptPictures / sheet.columns;
  if (!Number.isInteger(cell) || side < 1 || height < rows * cell * sheet.zoom) return null;
  const strip = new Uint8Array(3 * side * side * keptPictures);
  for (let n = 0; n < keptPictures; n++) {
    const [left, top] = [(n % sheet.columns) * cell + sheet.frame, Math.floor(n / sheet.columns) * cell + sheet.frame];
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const from = 3 * ((top + y) * sheet.zoom * width + (left + x) * sheet.zoom);
        strip.set(pixels.subarray(from, from + 3), 3 * (y * side * keptPictures + n * side + x));
      }
    }
  }
  return { pixels: strip, width: side * keptPictures, height: side };
}

/** The pictures of a strip. */
export function cutStrip({ pixels, width, height }: Picture): Picture[] {
  return Array.from({ length: Math.floor(width / height) }, (_, n) => {
    const cut = new Uint8Array(3 * height * height);
    for (let y = 0; y < height; y++) cut.set(pixels.subarray(3 * (y * width + n * height), 3 * (y * width + (n + 1) * height)), 3 * y * height);
    return { pixels: cut, width: height, height };
  });
}

/** Whether a run's pictures are shown in a figure: of each row of Table 1 the first seed, and the animals. */
export function isShown({ part, seed, isScored }: RunSpec): boolean {
  return seed === 1 && (isScored || part === "animals");
}

async function keep(from: string, to: string): Promise<void> {
  // A run that broke off has no last evaluation.
  if (!existsSync(from)) return;
  const strip = stripOfSheet(await readPicture(from, from));
  if (strip === null) return;
  const { pixels, width, height } = strip;
  await ensureFolder(dirname(to));
  await writeFileAtomic(to, await sharp(pixels, { raw: { width, height, channels: 3 } }).webp({ quality: 92 }).toBuffer());
}

/** Keeps the first pictures of a run's last evaluation, and those of the untrained model on the same prompts and noise, small enough to be committed. */
export async function keepPictures(spec: RunSpec, paths: ExperimentPaths): Promise<void> {
  if (!isShown(spec)) return;
  const { run, picture, basePicture } = specPaths(paths, spec.id);
  const { samples } = runPaths(run);
  const base = basePicture(baseOf(spec.method), spec.part === "animals");
  if (!existsSync(base)) await keep(join(samples, sheetName(0)), base);
  await keep(join(samples, sheetName(spec.iterations)), picture);
}

/** Kept pictures; undefined where there are none. */
export async function readStrip(path: string): Promise<Picture[] | undefined> {
  return existsSync(path) ? cutStrip(await readPicture(path, path)) : undefined;
}
