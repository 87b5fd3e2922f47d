import { monotonicMs } from "../storage/clock.ts";

/** The part of a stream that progress needs; `process.stderr` is one. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressOptions {
  /** What is counted, e.g. `training`. */
  readonly label: string;
  readonly total: number;
  /** Work done before this process began (a resumed run): counts as done, not as speed. Default 0. */
  readonly initial?: number;
  /** How a count is written. Default: as it is. */
  readonly format?: (count: number) => string;
  readonly stream?: ProgressStream;
  /** Clock in milliseconds; for tests. */
  readonly now?: () => number;
  /** Least time between two lines when the stream is no terminal. Default 10000. */
  readonly lineEveryMs?: number;
}

/** A duration for people: `0:07`, `12:34`, `3:04:05`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const two = (value: number): string => String(value).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Progress with time left on stderr: one line that is rewritten on a terminal, a new line now and then elsewhere. */
export class Progress {
  readonly #options: Required<ProgressOptions>;
  readonly #startedAt: number;
  #lastAt: number;
  #lastDone: number;
  #lastWrite = Number.NEGATIVE_INFINITY;
  /** Smoothed milliseconds per unit; the newest hundred units or so count. */
  #msPerUnit: number | undefined;
  #isOpen = false;

  constructor(options: ProgressOptions) {
    this.#options = { initial: 0, format: String, stream: process.stderr, now: monotonicMs, lineEveryMs: 10_000, ...options };
    this.#startedAt = this.#lastAt = this.#options.now();
    this.#lastDone = this.#options.initial;
  }

  /** Reports that `done` units are finished; `note` is shown at the end, e.g. `reward 0.71`. */
  update(done: number, note = ""): void {
    const { now, stream, total, lineEveryMs } = this.#options;
    const time = now();
    const units = done - this.#lastDone;
    if (units > 0) {
      const sample = (time - this.#lastAt) / units;
      const finished = done - this.#options.initial;
      // A plain mean at first, then an exponential one: slow starts are forgotten, single slow steps hardly matter.
      const weight = Math.max(units / finished, 1 - 0.97 ** units);
      this.#msPerUnit = this.#msPerUnit === undefined ? sample : this.#msPerUnit + weight * (sample - this.#msPerUnit);
      this.#lastAt = time;
      this.#lastDone = done;
    }
    const isTerminal = stream.isTTY === true;
    if (time - this.#lastWrite < (isTerminal ? 100 : lineEveryMs) && done < total) return;
    this.#lastWrite = time;
    const text = this.#text(done, note, time);
    if (!isTerminal) {
      stream.write(`${text}\n`);
      return;
    }
    this.#isOpen = true;
    stream.write(`\r\u001b[2K${text.slice(0, Math.max(20, (stream.columns ?? 80) - 1))}`);
  }

  /** Ends the line; later output begins on a new one. */
  finish(): void {
    if (this.#isOpen) this.#options.stream.write("\n");
    this.#isOpen = false;
  }

  #text(done: number, note: string, time: number): string {
    const { label, total, format } = this.#options;
    const fraction = total > 0 ? done / total : 1;
    const width = 20;
    const filled = Math.round(Math.min(1, fraction) * width);
    const bar = this.#options.stream.isTTY === true ? ` ${"█".repeat(filled)}${"░".repeat(width - filled)}` : "";
    const left = this.#msPerUnit === undefined ? "" : done >= total ? ` in ${formatDuration(time - this.#startedAt)}` : `, ${formatDuration((total - done) * this.#msPerUnit)} left`;
    return `${label}${bar} ${format(done)}/${format(total)} ${Math.floor(fraction * 100)} %${left}${note === "" ? "" : `  ${note}`}`;
  }
}
