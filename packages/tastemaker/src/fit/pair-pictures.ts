import type { Picture, Preprocessing } from "@tastemaker/diffusion";
import { readPicture } from "../images/read-picture.ts";

/** Decoded pictures that are kept, in bytes: 40 000 of 64×64 pixels, 650 of 512×512. */
const mostKeptBytes = 512 * 2 ** 20;

/**
 * The pictures of pairs as a model reads them. Decoded ones (8 bits) are kept while there is room; training visits all equally often, so that none deserves another's place.
 */
export class PairPictures {
  readonly #preprocessing: Preprocessing;
  readonly #kept: Map<string, Picture> = new Map();
  #keptBytes = 0;

  constructor(preprocessing: Preprocessing) {
    this.#preprocessing = preprocessing;
  }

  /** A decoded picture. @throws UsageError `picture-unreadable` */
  async picture(path: string): Promise<Picture> {
    const kept = this.#kept.get(path);
    if (kept !== undefined) return kept;
    const picture = await readPicture(path, path);
    if (this.#keptBytes + picture.pixels.length <= mostKeptBytes && !this.#kept.has(path)) {
      this.#kept.set(path, picture);
      this.#keptBytes += picture.pixels.length;
    }
    return picture;
  }

  /** Pixel values of several pictures, `[n, 3, size, size]`, as the reward's reference implementation prepares them. */
  async batch(paths: readonly string[]): Promise<Float32Array> {
    const { size, pixelValues } = this.#preprocessing;
    const each = 3 * size * size;
    const values = new Float32Array(paths.length * each);
    await Promise.all(paths.map(async (path, row) => values.set(pixelValues(await this.picture(path)), row * each)));
    return values;
  }
}
