import type { Picture } from "@tastemaker/diffusion";
import { Progress } from "../cli/progress.ts";
import { readPicture } from "../images/read-picture.ts";
import type { Pair } from "./pairs.ts";

/** What is kept in memory, in bytes: 40 000 pictures of 64×64 pixels, 650 of 512×512. */
const mostKeptBytes = 512 * 2 ** 20;

/** How a model reads a picture. */
export interface PictureInput {
  /** Of one picture's row. */
  readonly shape: readonly number[];
  /** The row of a picture. */
  row(picture: Picture): Promise<Float32Array> | Float32Array;
  /** What to keep between visits: the decoded picture (8 bits), or the row where that costs much to compute and is small. */
  readonly keeps: "picture" | "row";
}

/**
 * The pictures of pairs as a model reads them. They are read when they are needed and kept while there is room; training visits all equally often, so that none deserves another's
 * place.
 */
export class PairPictures {
  readonly #input: PictureInput;
  readonly #pictures: Map<string, Picture> = new Map();
  readonly #rows: Map<string, Float32Array> = new Map();
  #keptBytes = 0;

  constructor(input: PictureInput) {
    this.#input = input;
  }

  /** Rows of several pictures one after the other. @throws UsageError `picture-unreadable` */
  async batch(paths: readonly string[]): Promise<Float32Array> {
    const each = this.#input.shape.reduce((product, size) => product * size, 1);
    const values = new Float32Array(paths.length * each);
    await Promise.all(paths.map(async (path, row) => values.set(await this.#row(path), row * each)));
    return values;
  }

  async #row(path: string): Promise<Float32Array> {
    const { keeps, row } = this.#input;
    if (keeps === "picture") {
      const picture = this.#pictures.get(path) ?? (await readPicture(path, path));
      this.#keep(this.#pictures, path, picture, picture.pixels.length);
      return row(picture);
    }
    const values = this.#rows.get(path) ?? (await row(await readPicture(path, path)));
    this.#keep(this.#rows, path, values, values.byteLength);
    return values;
  }

  #keep<T>(kept: Map<string, T>, path: string, value: T, bytes: number): void {
    if (kept.has(path) || this.#keptBytes + bytes > mostKeptBytes) return;
    kept.set(path, value);
    this.#keptBytes += bytes;
  }
}

/** Decodes a picture of a pair. @throws UsageError `picture-unreadable`, naming the row of the pair */
export function readPairPicture(pair: Pair, which: "first" | "second"): Promise<Picture> {
  return readPicture(pair[which], `${pair.isCopied ? "" : `${pair[which]}, `}the ${which} picture of ${pair.where}`);
}

/** Pictures that are decoded at the same time. */
const readTogether = 8;

/**
 * Decodes every picture of pairs once, so that a damaged one is found before hours of training.
 * @returns false when `signal` stopped it @throws UsageError `picture-unreadable`, naming the row of the first pair with a damaged one
 */
export async function checkPairPictures(pairs: readonly Pair[], signal: AbortSignal): Promise<boolean> {
  const pictures = new Map<string, readonly [Pair, "first" | "second"]>();
  for (const pair of pairs) {
    for (const which of ["first", "second"] as const) if (!pictures.has(pair[which])) pictures.set(pair[which], [pair, which]);
  }
  const list = [...pictures.values()];
  const progress = new Progress({ label: "reading pictures", total: list.length });
  try {
    for (let start = 0; start < list.length; start += readTogether) {
      if (signal.aborted) return false;
      const part = list.slice(start, start + readTogether);
      const faults = await Promise.all(part.map(([pair, which]) => readPairPicture(pair, which).then(() => undefined, (error: unknown) => error as Error)));
      for (const fault of faults) if (fault !== undefined) throw fault;
      progress.update(start + part.length);
    }
    return true;
  } finally {
    progress.finish();
  }
}
