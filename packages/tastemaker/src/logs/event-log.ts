import { appendFileSync } from "node:fs";
import { type FileHandle, lstat, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { wallClock } from "../storage/clock.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { isSystemError, storageError } from "../storage/storage-error.ts";
import { encodeFileVersion, encodeSessionStart, encodeSummary, type EventValues, readEventHead } from "./event-message.ts";
import { encodeRecord, readRecords } from "./tf-record.ts";

/** TensorBoard looks for `tfevents` in a name and reads a folder's files in the order of their names. */
const fileNames = /^events\.out\.tfevents\.(\d{10,15})\.tastemaker$/;

/**
 * Takes one file back to its last whole event of at most `lastStep`, and notes the newest step of each tag. A file that does not begin like an event file was
 * not written here and is left alone.
 */
async function cutFile(path: string, lastStep: number, newest: Map<string, number>): Promise<void> {
  const file = await open(path, "r+");
  try {
    let kept = 0;
    for (const { data, end } of readRecords(file.fd)) {
      let head: ReturnType<typeof readEventHead>;
      try {
        head = readEventHead(data);
      } catch {
        break;
      }
      if (kept === 0 && head.fileVersion === undefined) return;
      if (head.tags.length > 0 && head.step > lastStep) break;
      for (const tag of head.tags) newest.set(tag, Math.max(head.step, newest.get(tag) ?? -1));
      kept = end;
    }
    if (kept > 0 && kept < (await file.stat()).size) await file.truncate(kept);
  } finally {
    await file.close();
  }
}

/** Names of the event files in a folder, oldest first; other files, links and folders are not looked at. */
async function listEventFiles(folder: string): Promise<string[]> {
  try {
    // A link could lead to files outside the run.
    if (!(await lstat(folder)).isDirectory()) throw new UsageError("path-missing", `event files: expected a folder, got something else (at ${folder})`, "move it away");
    const entries = await readdir(folder, { withFileTypes: true });
    return entries.filter((entry) => entry.isFile() && fileNames.test(entry.name)).map(({ name }) => name).sort((a, b) => secondsOf(a) - secondsOf(b));
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOENT") return [];
    throw storageError(error, "read", folder);
  }
}

const secondsOf = (name: string): number => Number(fileNames.exec(name)![1]);

/**
 * One run as TensorBoard sees it: the event files of a folder. Steps of a tag only grow: a value of a step that is already there is dropped, so that
 * everything may be offered again after an interruption.
 */
export class EventLog {
  readonly #folder: string;
  readonly #newest: Map<string, number>;
  readonly #lastStep: number;
  /** Time in the name of the newest older file; undefined when there is none. */
  readonly #olderSeconds: number | undefined;
  #path: string;
  #file: FileHandle | undefined;
  #bytes = 0;

  private constructor(folder: string, newest: Map<string, number>, lastStep: number, olderSeconds: number | undefined) {
    this.#folder = folder;
    this.#newest = newest;
    this.#lastStep = lastStep;
    this.#olderSeconds = olderSeconds;
    this.#path = folder;
  }

  /**
   * Takes the event files of a folder (which need not exist) back to `lastStep`; what is appended goes to a new file. The old ones are only shortened: a reader
   * that has one open would stumble over new events behind the place where it stopped.
   * @throws UsageError `no-permission`, `path-missing`, …
   */
  static async open(folder: string, lastStep: number): Promise<EventLog> {
    const names = await listEventFiles(folder);
    const newest = new Map<string, number>();
    for (const name of names) {
      const path = join(folder, name);
      await cutFile(path, lastStep, newest).catch((error: unknown) => {
        throw storageError(error, "shorten", path);
      });
    }
    return new EventLog(folder, newest, lastStep, names.length === 0 ? undefined : secondsOf(names.at(-1)!));
  }

  /** Whether a value of this tag and step would be written. */
  isNew(tag: string, step: number): boolean {
    return (this.#newest.get(tag) ?? -1) < step;
  }

  /**
   * Appends the values of a step as one event; values whose tag has this or a later step already are dropped.
   * @throws UsageError `disk-full`, `no-permission`, …; the file then ends with the event before
   */
  async append(step: number, { scalars, images }: EventValues): Promise<void> {
    const fresh = <T>(values: ReadonlyMap<string, T> = new Map()): Map<string, T> => new Map([...values].filter(([tag]) => this.isNew(tag, step)));
    const values = { scalars: fresh(scalars), images: fresh(images) };
    const tags = [...values.scalars.keys(), ...values.images.keys()];
    if (tags.length === 0) return;
    const now = wallClock().getTime();
    this.#file ??= await this.#create(now);
    const head = this.#bytes === 0 ? [encodeFileVersion(now), encodeSessionStart(now, this.#lastStep + 1)] : [];
    await this.#write(this.#file, [...head, encodeSummary(now, step, values)]);
    for (const tag of tags) this.#newest.set(tag, step);
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #create(now: number): Promise<FileHandle> {
    await ensureFolder(this.#folder);
    const older = this.#olderSeconds;
    // Later than every older file even within a second or after the clock was set back, because the order of the names counts.
    const seconds = Math.max(Math.floor(now / 1000), older === undefined ? 0 : older + 1);
    this.#path = join(this.#folder, `events.out.tfevents.${String(seconds).padStart(10, "0")}.tastemaker`);
    try {
      return await open(this.#path, "ax");
    } catch (error) {
      throw storageError(error, "create", this.#path);
    }
  }

  async #write(file: FileHandle, events: readonly Uint8Array[]): Promise<void> {
    const bytes = Buffer.concat(events.map(encodeRecord));
    try {
      // The thread pool would cost ten times the write, and the loops that are waiting block this thread for much longer anyway.
      appendFileSync(file.fd, bytes);
    } catch (error) {
      // A part may be on the disk; readers would stop at it for good.
      await file.truncate(this.#bytes).catch(() => undefined);
      throw storageError(error, "append to", this.#path);
    }
    this.#bytes += bytes.length;
  }
}
