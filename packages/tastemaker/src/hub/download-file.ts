import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { formatBytes } from "../cli/output.ts";
import { syncDirectory, writeFileAtomic } from "../storage/atomic-file.ts";
import { isSystemError, storageError } from "../storage/storage-error.ts";
import { type Answer, type Patience, request, TransientFailure, withRetries } from "./http.ts";

/** What a file's content must hash to: SHA-256, or SHA-1 of git's blob (its length and the content). */
export interface FileHash {
  readonly kind: "sha256" | "git-sha1";
  /** Lower-case hex. */
  readonly hex: string;
}

/** A file to be fetched. */
export interface Download {
  readonly address: string;
  /** Sent to the address' own host only. */
  readonly token?: string | undefined;
  /** For people, e.g. `unet/config.json of owner/name`. */
  readonly label: string;
  /** Where the part that has arrived is kept between attempts and commands; nobody else may write it meanwhile. */
  readonly partial: string;
  /** Where the file is moved when it is complete and right. */
  readonly path: string;
  /** Known before the download; otherwise the server says. */
  readonly sizeBytes?: number | undefined;
  readonly hash?: FileHash | undefined;
  /** Turns a status that is no success into an error. */
  refusal(answer: Answer): UsageError;
}

export interface DownloadOptions extends Patience {
  /** Bytes of the file that are here now; `total` is undefined while unknown. */
  readonly onProgress?: (done: number, total: number | undefined) => void;
}

/** Files of unknown size are cut off here, so that a server cannot fill the disk. */
const mostUnknownBytes = 64e9;

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

/** What the server said identified the file when its first part was fetched: without a known hash, parts of two versions must not be joined. */
const validatorPath = (partial: string): string => `${partial}.etag`;

async function readValidator(partial: string): Promise<string | undefined> {
  return readFile(validatorPath(partial), "utf8").catch(() => undefined);
}

/** A strong ETag, or the date of the last change; both serve in `If-Range`. */
function validatorOf(headers: Headers): string | undefined {
  const tag = headers.get("etag");
  return tag !== null && /^"[\x21\x23-\x7e]*"$/.test(tag) ? tag : (headers.get("last-modified") ?? undefined);
}

async function removePartial(partial: string): Promise<void> {
  for (const path of [partial, validatorPath(partial)]) await rm(path, { force: true });
}

async function hashOf(path: string, { kind }: FileHash): Promise<string> {
  const hash = kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${await sizeOf(path)}\0`);
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) hash.update(chunk);
  } catch (error) {
    throw storageError(error, "read", path);
  }
  return hash.digest("hex");
}

/** Where a part of a file goes: a range of the answer's own words, or the whole. */
function rangeOf(answer: Answer): { start: number; total: number | undefined } {
  if (answer.status === 206) {
    const [, first, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(answer.headers.get("content-range") ?? "") ?? [];
    return { start: first === undefined ? Number.NaN : Number(first), total: total === undefined || total === "*" ? undefined : Number(total) };
  }
  const length = answer.headers.get("content-length");
  // With an encoding the length is not the file's.
  const isPlain = ["identity", null].includes(answer.headers.get("content-encoding"));
  return { start: 0, total: isPlain && length !== null && /^\d{1,15}$/.test(length) ? Number(length) : undefined };
}

/** Writes an answer's body into the partial file from `start` on. */
async function writeBody(answer: Answer, download: Download, start: number, most: number, onBytes: (done: number) => void): Promise<number> {
  const { partial, label } = download;
  let done = start;
  try {
    const handle = await open(partial, start === 0 ? "w" : "r+");
    try {
      await handle.truncate(start);
      for await (const chunk of answer.chunks()) {
        if (done + chunk.byteLength > most) {
          throw new UsageError("download-size", `fetch: expected ${formatBytes(most)} of ${label}, got more (at ${answer.url.origin})`, "the server sends another file than it announced");
        }
        for (let at = 0; at < chunk.byteLength; ) at += (await handle.write(chunk, at, chunk.byteLength - at, done + at)).bytesWritten;
        done += chunk.byteLength;
        onBytes(done);
      }
      await handle.sync();
    } finally {
      await answer.close();
      await handle.close();
    }
  } catch (error) {
    if (error instanceof UsageError && error.code === "download-size") await removePartial(partial);
    throw isSystemError(error) ? diskError(error, partial) : error;
  }
  return done;
}

function diskError(error: unknown, path: string): unknown {
  const made = storageError(error, "write", path);
  return made instanceof UsageError && made.code === "disk-full" ? new UsageError("disk-full", `cannot write ${path}: no space left`, "free some space, or move the cache (HF_HOME or TASTEMAKER_CACHE); the same command goes on from what has arrived") : made;
}

/** One request for what is missing. Returns when the file is complete; throws `TransientFailure` when it is not. */
async function fetchRest(download: Download, options: DownloadOptions): Promise<void> {
  const { partial, sizeBytes, hash, label } = download;
  let offset = await sizeOf(partial);
  if (sizeBytes !== undefined && offset > sizeBytes) offset = 0;
  if (offset > 0 && offset === sizeBytes) return;
  // The part belongs to the file if the hash says so in the end, or if the server confirms it now.
  const validator = hash === undefined ? await readValidator(partial) : undefined;
  if (hash === undefined && validator === undefined) offset = 0;
  const headers: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-`, ...(validator === undefined ? {} : { "if-range": validator }) };
  const answer = await request(download.address, { headers, token: download.token }, options);
  if (answer.status === 416) {
    await answer.close();
    await removePartial(partial);
    throw new TransientFailure(`${answer.url.host} has no such part of ${label}`);
  }
  if (answer.status !== 200 && answer.status !== 206) {
    await answer.close();
    throw download.refusal(answer);
  }
  const { start, total } = rangeOf(answer);
  if (start !== (answer.status === 206 ? offset : 0) || (sizeBytes !== undefined && total !== undefined && total !== sizeBytes)) {
    await answer.close();
    await removePartial(partial);
    const message = `${answer.url.host} sent another part or size of ${label} than was asked for`;
    throw offset === 0 ? new UsageError("download-size", `fetch: expected ${sizeBytes} bytes of ${label}, got ${total} (at ${answer.url.origin})`, "the server sends another file than it announced") : new TransientFailure(message);
  }
  if (/^text\/html\b/i.test(answer.headers.get("content-type") ?? "") && hash === undefined) {
    await answer.close();
    throw new UsageError("download-page", `fetch: expected a file, got a web page (at ${download.address})`, "give the address of the file itself");
  }
  if (hash === undefined && start === 0) {
    const said = validatorOf(answer.headers);
    if (said === undefined) await rm(validatorPath(partial), { force: true });
    else await writeFileAtomic(validatorPath(partial), said);
  }
  const whole = sizeBytes ?? total;
  options.onProgress?.(start, whole);
  const done = await writeBody(answer, download, start, whole ?? mostUnknownBytes, (bytes) => options.onProgress?.(bytes, whole));
  if (whole !== undefined && done < whole) throw new TransientFailure(`the connection to ${answer.url.host} ended early`);
}

/**
 * Fetches a file, going on from a part that an earlier attempt or command left, and moves it to its place when its size and hash are right. Dropped connections, stalls,
 * 408, 429 and 5xx are tried again; a part that the server no longer has makes it start over.
 *
 * @throws UsageError `download-hash`, `download-size`, `download-page`, `unreachable`, `redirects`, `disk-full`, `interrupted`, and what `refusal` makes of other answers
 */
export async function downloadFile(download: Download, options: DownloadOptions = {}): Promise<void> {
  const { partial, path, hash, label } = download;
  for (let isRepeated = false; ; isRepeated = true) {
    let isJoined = false;
    let received = 0;
    const onProgress = (done: number, total: number | undefined): void => {
      received = Math.max(received, done);
      options.onProgress?.(done, total);
    };
    const attempt = async (): Promise<void> => {
      isJoined ||= (await sizeOf(partial)) > 0;
      await fetchRest(download, { ...options, onProgress });
    };
    await withRetries(label, attempt, options, () => received);
    // An empty file has no body that would have created it.
    if ((await sizeOf(partial)) === 0) await writeFileAtomic(partial, "");
    const found = hash === undefined ? undefined : await hashOf(partial, hash);
    if (found === hash?.hex) break;
    await removePartial(partial);
    // One of several parts may be damaged (a power cut); a file fetched in one go is what the server has.
    if (isJoined && !isRepeated) {
      options.note?.(`the parts of ${label} do not fit together; fetching it again`);
      continue;
    }
    throw new UsageError("download-hash", `fetch: expected ${label} with ${hash!.kind} ${hash!.hex}, got ${found} (at ${download.address})`, "it was deleted; try again, and if it happens again the server or something between changes the file");
  }
  try {
    await rename(partial, path);
    await syncDirectory(dirname(path));
    await rm(validatorPath(partial), { force: true });
  } catch (error) {
    throw storageError(error, "write", path);
  }
}
