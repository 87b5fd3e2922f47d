import { readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { readJsonLines } from "../storage/append-log.ts";
import { type RunFollower, runPaths } from "../storage/run-directory.ts";
import { isSystemError, storageError } from "../storage/storage-error.ts";
import { EventLog } from "./event-log.ts";
import { describePng, type PngImage } from "./event-message.ts";
import { flattenLine, numberOf } from "./flatten-line.ts";

/** Folder of the base model's curves in a run directory, so that they share charts with the tuned model's, which are in the run directory itself. */
const baseFolder = "base";
/** Sheets above this are left out. */
const maxSheetBytes = 64 * 2 ** 20;
const sheetTag = "samples/sheet";
/** Places in the run, of the line itself or of another one; they are an axis, not a curve. */
const places = new Set(["iteration", "step", "seen", "best"]);

type Line = Readonly<Record<string, unknown>>;

/** Iterations finished, or in pretraining pictures seen. */
function stepOf({ iteration, seen }: Line): number | undefined {
  const step = iteration ?? seen;
  return Number.isSafeInteger(step) && (step as number) >= 0 ? (step as number) : undefined;
}

/** The numbers of a line by tag: keys joined by `/`, those without a parent below `group`. A held-out point counts with its mean. */
function scalarsOf(line: object, group: string, isWanted: (key: string) => boolean = () => true): Map<string, number> {
  const scalars = new Map<string, number>();
  for (const [keys, leaf] of flattenLine(line)) {
    const value = numberOf(leaf);
    const last = keys.at(-1);
    if (value === undefined || (keys.length === 1 && places.has(keys[0]!)) || last === "standardError" || !isWanted(keys[0]!)) continue;
    const path = last === "mean" && keys.length > 1 ? keys.slice(0, -1) : keys;
    scalars.set(path.length === 1 ? `${group}/${path[0]!}` : path.join("/"), value);
  }
  return scalars;
}

/** A sample sheet of the run for `log`; nothing when it has that already or there is no such file. */
async function readSheet(log: EventLog, step: number, path: string): Promise<ReadonlyMap<string, PngImage>> {
  if (!log.isNew(sheetTag, step)) return new Map();
  try {
    const { size } = await stat(path);
    const image = size > maxSheetBytes ? undefined : describePng(await readFile(path));
    return new Map(image && [[sheetTag, image]]);
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOENT") return new Map();
    throw storageError(error, "read", path);
  }
}

/** Writes what the logs of a run say as TensorBoard's events. */
class RunEvents implements RunFollower {
  readonly #samples: string;
  readonly #tuned: EventLog;
  readonly #base: EventLog;
  /** The base model's held-out means, repeated at every evaluation so that they are a line in the chart. */
  #baseline: ReadonlyMap<string, number> | undefined;

  constructor(samples: string, tuned: EventLog, base: EventLog) {
    this.#samples = samples;
    this.#tuned = tuned;
    this.#base = base;
  }

  async metrics(line: object): Promise<void> {
    const { heldOutBefore, heldOut } = line as Line;
    const step = stepOf(line as Line);
    if (step === undefined) return;
    if (heldOutBefore !== undefined) {
      this.#baseline = scalarsOf({ heldOut: heldOutBefore }, "heldOut");
      await this.#base.append(0, { scalars: this.#baseline, images: await this.#sheet(this.#base, 0, sheetName(0)) });
      // An adapter begins as no change at all: both curves start here.
      await this.#tuned.append(0, { scalars: this.#baseline });
    }
    const images = heldOut === undefined ? new Map<string, PngImage>() : await this.#sheet(this.#tuned, step, sheetName(step));
    await this.#tuned.append(step, { scalars: scalarsOf(line, "training", (key) => key !== "heldOutBefore"), images });
    if (heldOut !== undefined && this.#baseline !== undefined) await this.#base.append(step, { scalars: this.#baseline });
  }

  async timings(line: object): Promise<void> {
    const step = stepOf(line as Line);
    if (step === undefined) return;
    if ("iteration" in line) {
      const { memoryBytes, ...others } = line as Line;
      // An axis of bytes would read 6.4e+8.
      const memory = typeof memoryBytes === "number" ? { memoryMiB: memoryBytes / 2 ** 20 } : {};
      await this.#tuned.append(step, { scalars: scalarsOf({ ...others, ...memory }, "machine") });
      return;
    }
    // Pretraining writes a line per sample sheet; its seconds count from the start of the process, which the axis of wall time shows as well.
    const scalars = scalarsOf(line, "samples", (key) => key !== "seconds");
    await this.#tuned.append(step, { scalars, images: await this.#sheet(this.#tuned, step, `${String(step).padStart(8, "0")}.png`) });
  }

  #sheet(log: EventLog, step: number, name: string): Promise<ReadonlyMap<string, PngImage>> {
    return readSheet(log, step, join(this.#samples, name));
  }

  async close(): Promise<void> {
    await this.#tuned.close();
    await this.#base.close();
  }
}

/** Name of the sample sheet after some iterations; 0 is the base model. */
export function sheetName(iteration: number): string {
  return `iteration-${String(iteration).padStart(6, "0")}.png`;
}

/**
 * TensorBoard's event files of a run directory, which follow its logs: taken back to where the logs end, and completed with what the logs hold beyond them
 * (a lost or older run's files are written anew; times are then those of the writing). `root` must be locked by the caller, its logs cut to the checkpoint.
 * @throws UsageError `run-damaged`, `disk-full`, `no-permission`, …
 */
export async function openRunEvents(root: string): Promise<RunFollower> {
  // A run may be given by a link; inside it links are not followed.
  const paths = runPaths(await realpath(root));
  const metrics = await readJsonLines(paths.metrics);
  const timings = await readJsonLines(paths.timings);
  const last = metrics.at(-1);
  const lastStep = last === undefined ? -1 : (stepOf(last) ?? -1);
  const events = new RunEvents(paths.samples, await EventLog.open(paths.root, lastStep), await EventLog.open(join(paths.root, baseFolder), lastStep));
  let next = 0;
  for (const line of metrics) {
    await events.metrics(line);
    // In the order of steps, as they were written the first time.
    for (; next < timings.length && (stepOf(timings[next]!) ?? 0) <= (stepOf(line) ?? 0); next++) await events.timings(timings[next]!);
  }
  return events;
}
