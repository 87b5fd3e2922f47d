import { readdir, readFile, rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { Picture } from "@tastemaker/diffusion";
import { encodePng } from "../images/contact-sheet.ts";
import { decodePng } from "../images/read-picture.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { wallClock } from "../storage/clock.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { isSystemError, storageError } from "../storage/storage-error.ts";
import { pictureHash } from "./content-key.ts";

/** A picture of the store: what metrics see, and the bytes of its file. */
export interface StoredPicture {
  readonly picture: Picture;
  /** `pictureHash` of it. */
  readonly hash: string;
  readonly png: Uint8Array;
}

const namePattern = /^([0-9a-f]{64})\.([0-9a-f]{64})\.png$/;

/**
 * Pictures as PNG files `<first two of the key>/<key>.<hash of the pixels>.png`: the name says what the picture was made from and what it shows, so that every file can be
 * checked by itself.
 */
export class PictureStore {
  readonly #root: string;
  /** Hash by key, of the folders that were looked at. */
  readonly #folders: Map<string, Map<string, string>> = new Map();

  constructor(root: string) {
    this.#root = root;
  }

  /** The picture of a key; undefined when there is none or its file is damaged (which is then removed). */
  async read(key: string): Promise<StoredPicture | undefined> {
    const hash = (await this.#folder(key)).get(key);
    if (hash === undefined) return undefined;
    const path = this.#path(key, hash);
    const png = await readFile(path).catch(() => undefined);
    const picture = png === undefined ? undefined : await decodePng(png);
    if (png === undefined || picture === undefined || pictureHash(picture) !== hash) {
      (await this.#folder(key)).delete(key);
      await rm(path, { force: true });
      return undefined;
    }
    // Pictures that were not used for longest are the first to go.
    const now = wallClock();
    await utimes(path, now, now).catch(() => undefined);
    return { picture, hash, png };
  }

  /** Keeps a picture and returns its hash. @throws UsageError `disk-full`, `no-permission` */
  async write(key: string, picture: Picture): Promise<string> {
    const hash = pictureHash(picture);
    const folder = await this.#folder(key);
    await ensureFolder(join(this.#root, key.slice(0, 2)));
    await writeFileAtomic(this.#path(key, hash), await encodePng(picture));
    folder.set(key, hash);
    return hash;
  }

  /** Where the picture of a key lies. */
  async pathOf(key: string): Promise<string | undefined> {
    const hash = (await this.#folder(key)).get(key);
    return hash === undefined ? undefined : this.#path(key, hash);
  }

  #path(key: string, hash: string): string {
    return join(this.#root, key.slice(0, 2), `${key}.${hash}.png`);
  }

  async #folder(key: string): Promise<Map<string, string>> {
    const name = key.slice(0, 2);
    const known = this.#folders.get(name);
    if (known !== undefined) return known;
    const files = await readdir(join(this.#root, name)).catch((error: unknown) => {
      if (isSystemError(error) && error.code === "ENOENT") return [];
      throw storageError(error, "read", join(this.#root, name));
    });
    const found = new Map(files.flatMap((file) => {
      const match = namePattern.exec(file);
      return match === null ? [] : [[match[1]!, match[2]!] as const];
    }));
    this.#folders.set(name, found);
    return found;
  }
}
