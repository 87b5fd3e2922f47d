import { isDeepStrictEqual } from "node:util";
import { UsageError } from "@tastemaker/tensor";
import { formatDuration } from "../cli/progress.ts";
import { monotonicMs } from "../storage/clock.ts";
import type { Records } from "./choose.ts";
import { ChildFailure } from "./child.ts";
import { totalSeconds } from "./estimate.ts";
import { roundedJson } from "./files.ts";
import { specPaths } from "./paths.ts";
import type { RunRecord, RunSpec } from "./run-record.ts";
import { type RunContext, runOne } from "./run-one.ts";

/** A run that could not be made. */
export interface Failure {
  readonly id: string;
  readonly message: string;
}

export interface PoolOptions {
  readonly jobs: number;
  readonly note: (text: string) => void;
  /** All runs of the experiment, also those that can't be named yet; for the time left. */
  readonly outline: { readonly runs: number; readonly seconds: number };
}

/** What of a plan is not there yet. @throws UsageError `experiment-changed` for a record of the same name and another specification */
export function openRuns(specs: readonly RunSpec[], records: Records, context: Pick<RunContext, "paths">): RunSpec[] {
  return specs.filter((spec) => {
    const record = records.get(spec.id);
    if (record === undefined) return true;
    if (isDeepStrictEqual(record.spec, JSON.parse(roundedJson(spec)))) return false;
    throw new UsageError("experiment-changed", `experiment: expected records of this budget and calibration, got one of others (at ${specPaths(context.paths, spec.id).record})`, "begin with another --out, or delete the records that are no longer wanted");
  });
}

/** One line on a finished run. */
function describeRun({ spec, curve, watchFiredAt }: RunRecord): string {
  const last = curve.at(-1)?.scores[spec.reward];
  const gain = last === undefined ? "broke off" : `${spec.reward} ${last.gain < 0 ? "−" : "+"}${Math.abs(last.gain).toPrecision(3)} ± ${last.gainStandardError.toPrecision(2)}`;
  return `${spec.id}: ${gain}${watchFiredAt === null ? "" : `, over-optimisation from iteration ${watchFiredAt}`}`;
}

/** Says how far an experiment is, over several pools. */
export class ExperimentProgress {
  readonly #options: PoolOptions;
  readonly #startedAt: number = monotonicMs();
  #done: number;
  #doneSeconds: number;
  #madeSeconds = 0;

  /** @param done what was there before */
  constructor(options: PoolOptions, done: { readonly runs: number; readonly seconds: number }) {
    this.#options = options;
    this.#done = done.runs;
    this.#doneSeconds = done.seconds;
  }

  finished(text: string, seconds: number): void {
    const { outline, jobs, note } = this.#options;
    this.#done++;
    this.#doneSeconds += seconds;
    this.#madeSeconds += seconds;
    const left = Math.max(0, outline.seconds - this.#doneSeconds);
    const share = outline.seconds === 0 ? 1 : Math.min(1, this.#doneSeconds / outline.seconds);
    // At the pace so far once that means something; before, as estimated.
    const elapsed = monotonicMs() - this.#startedAt;
    const pace = this.#madeSeconds > 2 * jobs * seconds ? elapsed / this.#madeSeconds : 1000 / jobs;
    note(`${this.#done}/${outline.runs} ${Math.floor(100 * share)} %, ${formatDuration(left * pace)} left  ${text}`);
  }
}

/** Makes runs, `jobs` at a time, in their order. One that fails does not keep the others from being made. Ends early when Ctrl-C asks for it. */
export async function runPool(specs: readonly RunSpec[], context: RunContext, { jobs, note }: PoolOptions, progress: ExperimentProgress): Promise<Failure[]> {
  const failures: Failure[] = [];
  const queue = [...specs];
  const work = async (): Promise<void> => {
    for (let spec = queue.shift(); spec !== undefined && !context.signal.aborted; spec = queue.shift()) {
      try {
        const record = await runOne(spec, context);
        if (record !== undefined) progress.finished(describeRun(record), totalSeconds([spec], context.budget, context.calibration));
      } catch (error) {
        // A fault of this program, or a disk that is full, would meet every other run too.
        if (!(error instanceof ChildFailure)) {
          queue.length = 0;
          throw error;
        }
        failures.push({ id: spec.id, message: error.message });
        note(`failed: ${spec.id}: ${error.message}`);
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(jobs, specs.length) }, work));
  const broken = ends.find((end) => end.status === "rejected");
  if (broken !== undefined) throw broken.reason;
  return failures;
}
