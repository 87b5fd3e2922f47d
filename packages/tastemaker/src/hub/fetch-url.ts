import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { cacheDirectory } from "../storage/cache-directory.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { hashFile, hashText } from "../storage/file-hash.ts";
import { downloadFile } from "./download-file.ts";
import { withDownloadLock } from "./download-lock.ts";
import { sizeBehind } from "./hub-cache.ts";
import { type TransferOptions, TransferProgress } from "./transfer.ts";

/** What `file.json` beside a fetched file says. */
interface FetchedRecord {
  readonly address: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** A name that any file system takes, with the ending that tells the kind of file. */
function fileName(address: string): string {
  const last = basename(new URL(address).pathname).replaceAll(/[^\w.-]+/g, "-").slice(-100);
  return /^\.*$/.test(last) ? "file" : last.replace(/^\.+/, "");
}

/** Where the file behind an address is kept: `downloads/<hash of the address>/<name>` in Tastemaker's cache. */
export function downloadPath(address: string, cacheFolder: string = cacheDirectory()): string {
  return join(cacheFolder, "downloads", hashText(address).slice(0, 16), fileName(address));
}

async function readRecord(path: string): Promise<FetchedRecord | undefined> {
  try {
    const value = JSON.parse(await readFile(`${path}.json`, "utf8")) as Partial<FetchedRecord> | null;
    return typeof value?.sha256 === "string" && typeof value.sizeBytes === "number" && typeof value.address === "string" ? (value as FetchedRecord) : undefined;
  } catch {
    return undefined;
  }
}

/** The file if it is here and whole. @throws UsageError `download-hash` when it is another than expected */
async function findFetched(path: string, expected: string | undefined): Promise<FetchedRecord | undefined> {
  const record = await readRecord(path);
  if (record === undefined || (await sizeBehind(path)) !== record.sizeBytes) return undefined;
  if (expected === undefined || record.sha256 === expected) return record;
  throw new UsageError("download-hash", `fetch: expected sha256 ${expected}, got ${record.sha256} fetched earlier (at ${path})`, "correct the expected sum, or delete that file to fetch it again");
}

/**
 * The file behind an address, from Tastemaker's cache where it is, else fetched into it.
 *
 * @param sha256 Expected sum; without one the file is taken as it comes, and its sum is recorded.
 * @throws UsageError `weights-offline`, `download-missing`, and as `downloadFile`
 */
export async function fetchUrl(address: string, sha256: string | undefined, isOffline: boolean, options: TransferOptions & { readonly cacheFolder?: string } = {}): Promise<{ path: string; receivedBytes: number }> {
  const path = downloadPath(address, options.cacheFolder);
  if ((await findFetched(path, sha256)) !== undefined) return { path, receivedBytes: 0 };
  if (isOffline) {
    throw new UsageError("weights-offline", `weights: expected ${address} in the cache because HF_HUB_OFFLINE is set, got nothing (at ${path})`, `on a connected machine run \`tastemaker fetch ${address}\` and copy ${dirname(path)} here, or unset HF_HUB_OFFLINE`);
  }
  await ensureFolder(dirname(path));
  const progress = new TransferProgress(`fetching ${basename(path)}`, 0, options.stream);
  try {
    await withDownloadLock(
      `${path}.lock`,
      async (isAlone) => {
        if ((await findFetched(path, sha256)) !== undefined) return;
        if (!isAlone) throw new UsageError("run-locked", `fetch: expected no process of another machine at work on ${basename(path)}, got one (lock ${path}.lock)`, "wait for it; if it no longer runs, delete the lock file");
        await downloadFile(
          {
            address,
            label: basename(path),
            partial: `${path}.incomplete`,
            path,
            hash: sha256 === undefined ? undefined : { kind: "sha256", hex: sha256 },
            refusal: ({ status, url }) => new UsageError("download-missing", `fetch: expected a file, got status ${status} (at ${url.origin}${url.pathname})`, status === 404 ? "check the address" : "it may need permission: fetch the file yourself and give its path"),
          },
          { ...options, onProgress: progress.file(basename(path)) },
        );
        const found = await hashFile(path);
        await writeFileAtomic(`${path}.json`, `${JSON.stringify({ address, ...found } satisfies FetchedRecord, null, 2)}\n`);
      },
      options,
    );
  } finally {
    progress.finish();
  }
  return { path, receivedBytes: progress.receivedBytes };
}
