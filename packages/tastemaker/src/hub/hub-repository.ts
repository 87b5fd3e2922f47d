import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileMissingError, type Folder, folderOf } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import { formatBytes } from "../cli/output.ts";
import { openNodeFile } from "../platform/node-files.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { downloadFile } from "./download-file.ts";
import { withDownloadLock } from "./download-lock.ts";
import { fileAddress, type HubFile, type HubTarget, listFiles, refusal } from "./hub-api.ts";
import { linkBlob, type RepositoryCache, sizeBehind } from "./hub-cache.ts";
import type { HubSettings } from "./hub-settings.ts";
import { checkSpace, type TransferOptions, TransferProgress } from "./transfer.ts";

/** What is read to find out which weights are needed (configurations, vocabularies, lists of shards) is small. */
const mostConfigurationBytes = 128 * 2 ** 20;

/** A repository at a commit, whose files come into the cache when they are asked for. */
export class HubRepository {
  readonly #target: HubTarget;
  readonly #settings: HubSettings;
  readonly #cache: RepositoryCache;
  readonly #options: TransferOptions;
  #listing: Promise<ReadonlyMap<string, HubFile>> | undefined;
  /** Files of this commit that were asked for. */
  readonly used: Set<string> = new Set();
  receivedBytes = 0;

  constructor(repository: string, commit: string, settings: HubSettings, cache: RepositoryCache, options: TransferOptions) {
    this.#target = { repository, revision: commit };
    this.#settings = settings;
    this.#cache = cache;
    this.#options = options;
  }

  /** The files as a folder that fetches what is opened; for configurations and other small files. */
  folder(): Folder {
    const { repository, revision } = this.#target;
    const name = `${repository}@${revision.slice(0, 12)}`;
    return folderOf(
      name,
      async (path) => (await this.#files()).has(path),
      async (path) => {
        const file = (await this.#files()).get(path);
        if (file === undefined) throw fileMissingError(`${name}/${path}`);
        if (file.sizeBytes > mostConfigurationBytes) {
          throw new UsageError("hub-file-size", `hub: expected at most ${formatBytes(mostConfigurationBytes)} in a configuration file, got ${formatBytes(file.sizeBytes)} (at ${name}/${path})`, "this is no model of a known kind");
        }
        await this.fetch([path]);
        return openNodeFile(join(this.#cache.snapshot(revision), path));
      },
    );
  }

  /**
   * Fetches the named files that are not in the cache.
   * @throws UsageError `hub-file-missing`, `disk-full`, and as `downloadFile`
   */
  async fetch(paths: readonly string[]): Promise<void> {
    const { repository, revision } = this.#target;
    const listing = await this.#files();
    const files = paths.map((path) => {
      const file = listing.get(path);
      if (file === undefined) throw new UsageError("hub-file-missing", `hub: expected the file ${path} in ${repository} (commit ${revision}), got none`, "check its name on the repository's page");
      return file;
    });
    const missing: HubFile[] = [];
    for (const file of files) {
      this.used.add(file.path);
      const present = await sizeBehind(join(this.#cache.snapshot(revision), file.path));
      if (present !== file.sizeBytes) missing.push(file);
    }
    if (missing.length === 0) return;
    let wanted = 0;
    for (const { sizeBytes, hash } of missing) {
      const here = (await sizeBehind(this.#cache.blob(hash.hex))) ?? (await sizeBehind(this.#partial(hash.hex))) ?? 0;
      wanted += Math.max(0, sizeBytes - here);
    }
    await ensureFolder(join(this.#cache.root, "blobs"));
    await checkSpace(this.#cache.root, wanted, "free some, or move the cache (HF_HOME)");
    const progress = new TransferProgress(`fetching ${repository}`, missing.reduce((total, { sizeBytes }) => total + sizeBytes, 0), this.#options.stream);
    try {
      for (const file of missing) await this.#fetchFile(file, progress);
    } finally {
      progress.finish();
      this.receivedBytes += progress.receivedBytes;
    }
  }

  /** All files of the commit; asked for once. */
  #files(): Promise<ReadonlyMap<string, HubFile>> {
    this.#listing ??= listFiles(this.#target, this.#settings, this.#options);
    return this.#listing;
  }

  /** Ends as `huggingface_hub`'s own parts do, so that its tools clear it away, but is another file: the two cannot lock each other out. */
  #partial(hash: string): string {
    return `${this.#cache.blob(hash)}.tastemaker.incomplete`;
  }

  async #fetchFile(file: HubFile, progress: TransferProgress): Promise<void> {
    const { path, sizeBytes, hash } = file;
    const { repository, revision } = this.#target;
    const blob = this.#cache.blob(hash.hex);
    await withDownloadLock(
      this.#cache.lock(hash.hex),
      async (isAlone) => {
        if ((await sizeBehind(blob)) === sizeBytes) {
          progress.skip(sizeBytes);
          return;
        }
        const partial = isAlone ? this.#partial(hash.hex) : `${blob}.${randomBytes(6).toString("hex")}.incomplete`;
        try {
          await downloadFile(
            {
              address: fileAddress(this.#settings, repository, revision, path),
              token: this.#settings.token,
              label: `${path} of ${repository}`,
              partial,
              path: blob,
              sizeBytes,
              hash,
              refusal: (answer) => refusal(answer, { ...this.#target, file: path }, this.#settings),
            },
            { ...this.#options, onProgress: progress.file(path) },
          );
        } finally {
          if (!isAlone) await rm(partial, { force: true });
        }
      },
      this.#options,
    );
    await linkBlob(this.#cache, revision, path, hash.hex);
  }
}
