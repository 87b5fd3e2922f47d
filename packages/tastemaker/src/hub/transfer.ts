import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { formatBytes } from "../cli/output.ts";
import { Progress, type ProgressStream } from "../cli/progress.ts";
import { monotonicMs } from "../storage/clock.ts";
import type { Patience } from "./http.ts";

/** How downloads behave and report; everything has a default. */
export interface TransferOptions extends Patience {
  /** Where progress is shown. Default: stderr. */
  readonly stream?: ProgressStream;
}

/** Quick downloads are not worth a line. */
const silentMs = 2000;
const megabyte = 1e6;

/** Progress over the bytes of several files, silent for the first two seconds. */
export class TransferProgress {
  readonly #label: string;
  readonly #stream: ProgressStream | undefined;
  readonly #now: () => number;
  readonly #begun: number;
  #progress: Progress | undefined;
  #total: number;
  #finished = 0;
  #received = 0;

  /** @param totalBytes 0 while unknown: the sizes of the files are then added as the servers tell them. */
  constructor(label: string, totalBytes: number, stream?: ProgressStream, now: () => number = monotonicMs) {
    this.#label = label;
    this.#total = totalBytes;
    this.#stream = stream;
    this.#now = now;
    this.#begun = now();
  }

  /** Bytes that came over the network. */
  get receivedBytes(): number {
    return this.#received;
  }

  /** Reports of one file after the other; `report(done, total)` goes to `downloadFile`. */
  file(note: string): (done: number, total: number | undefined) => void {
    const before = this.#finished;
    let last: number | undefined;
    return (done, total) => {
      // The first report is what was here already; a smaller one than before means a new start.
      if (last !== undefined && done > last) this.#received += done - last;
      last = done;
      this.#finished = before + done;
      if (this.#total === 0 && total !== undefined) this.#total = before + total;
      if (this.#total === 0) return;
      // Begun with what was here already, so that the speed is that of the network.
      this.#progress ??= new Progress({ label: this.#label, total: this.#total / megabyte, initial: this.#finished / megabyte, format: (count) => formatBytes(count * megabyte), now: this.#now, ...(this.#stream === undefined ? {} : { stream: this.#stream }) });
      if (this.#now() - this.#begun >= silentMs) this.#progress.update(this.#finished / megabyte, note);
    };
  }

  /** Counts a file that needed no network. */
  skip(sizeBytes: number): void {
    this.#finished += sizeBytes;
  }

  finish(): void {
    this.#progress?.finish();
  }
}

/**
 * Checks before a download that it will fit.
 * @throws UsageError `disk-full`
 */
export async function checkSpace(folder: string, neededBytes: number, cure: string): Promise<void> {
  for (let path = folder; ; path = dirname(path)) {
    const stats = await statfs(path).catch(() => undefined);
    if (stats === undefined && dirname(path) !== path) continue;
    const free = stats === undefined ? Number.POSITIVE_INFINITY : stats.bavail * stats.bsize;
    if (free >= neededBytes) return;
    throw new UsageError("disk-full", `fetch: expected ${formatBytes(neededBytes)} of free space, got ${formatBytes(free)} (at ${folder})`, cure);
  }
}
