import { existsSync } from "node:fs";
import { lstat, rm } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory } from "../storage/cache-directory.ts";
import { wallClock } from "../storage/clock.ts";
import { listFiles } from "../storage/list-files.ts";
import { FileHashes } from "./file-hashes.ts";
import { PictureStore } from "./picture-store.ts";
import { ValueStore } from "./value-store.ts";

/** Pictures, scores and file hashes of all evaluations, each under a key that holds everything it depends on. */
export class EvaluationCache {
  readonly root: string;
  readonly pictures: PictureStore;
  readonly hashes: FileHashes;
  readonly #openedAtMs: number;
  readonly #stores: Map<string, Promise<ValueStore>> = new Map();

  private constructor(root: string, hashes: ValueStore) {
    this.root = root;
    this.pictures = new PictureStore(join(root, "pictures"));
    this.hashes = new FileHashes(hashes);
    // File systems keep times coarsely; a second earlier, so that nothing of this evaluation counts as old.
    this.#openedAtMs = wallClock().getTime() - 1000;
  }

  /** Opens the cache in a folder, by default `evaluations` below the cache directory. Nothing is created before something is kept. */
  static async open(root: string = evaluationCacheFolder()): Promise<EvaluationCache> {
    return new EvaluationCache(root, await ValueStore.open(join(root, "values"), { what: "SHA-256 of files" }));
  }

  /** The values of one identity, e.g. a metric with its weights and preprocessing. */
  values(about: object): Promise<ValueStore> {
    const key = JSON.stringify(about);
    const store = this.#stores.get(key) ?? ValueStore.open(join(this.root, "values"), about);
    this.#stores.set(key, store);
    return store;
  }

  /**
   * Removes what was not used for longest until at most `limitBytes` remain, but nothing that this evaluation used. 0 removes everything.
   * @returns Bytes that were removed.
   */
  async prune(limitBytes: number): Promise<number> {
    if (limitBytes === 0) {
      const bytes = (await keptFiles(this.root)).reduce((sum, { size }) => sum + size, 0);
      await rm(this.root, { recursive: true, force: true });
      return bytes;
    }
    const files = (await keptFiles(this.root)).sort((a, b) => a.usedAtMs - b.usedAtMs);
    let total = files.reduce((sum, { size }) => sum + size, 0);
    let removed = 0;
    for (const { path, size, usedAtMs } of files) {
      if (total <= limitBytes || usedAtMs >= this.#openedAtMs) break;
      await rm(path, { force: true });
      total -= size;
      removed += size;
    }
    return removed;
  }
}

/** Folder of the cache. */
export function evaluationCacheFolder(): string {
  return join(cacheDirectory(), "evaluations");
}

/** None where the cache has not been written to yet. */
async function keptFiles(folder: string): Promise<{ path: string; size: number; usedAtMs: number }[]> {
  const files = [];
  for (const name of existsSync(folder) ? await listFiles(folder) : []) {
    const path = join(folder, name);
    const stats = await lstat(path).catch(() => undefined);
    if (stats !== undefined) files.push({ path, size: stats.size, usedAtMs: stats.mtimeMs });
  }
  return files;
}
