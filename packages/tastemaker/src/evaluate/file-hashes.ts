import { stat } from "node:fs/promises";
import { UsageError } from "@tastemaker/tensor";
import { hashFile } from "../storage/file-hash.ts";
import { storageError } from "../storage/storage-error.ts";
import type { ValueStore } from "./value-store.ts";

/** A file that numbers depend on. */
export interface HashedFile {
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** SHA-256 of whole files, read once: a file of the same path, size, inode and times is taken for the same. */
export class FileHashes {
  readonly #known: ValueStore;

  constructor(known: ValueStore) {
    this.#known = known;
  }

  /** @throws UsageError `path-missing`, `no-permission` */
  async of(path: string): Promise<HashedFile> {
    const stats = await stat(path, { bigint: true }).catch((error: unknown) => {
      throw storageError(error, "read", path);
    });
    // The time of change (ctime) cannot be set back, unlike the time of modification.
    const key = [path, stats.size, stats.ino, stats.mtimeNs, stats.ctimeNs].join("|");
    const known = this.#known.get(key);
    if (typeof known === "string") return { path, sha256: known, sizeBytes: Number(stats.size) };
    const { sha256, sizeBytes } = await hashFile(path);
    // A hash that cannot be kept is true all the same, and made again next time.
    await this.#known.add([[key, sha256]]).catch((error: unknown) => {
      if (!(error instanceof UsageError)) throw error;
    });
    return { path, sha256, sizeBytes };
  }
}
