import type { Environment } from "../storage/environment.ts";
import type { Method } from "./run-record.ts";

/** Content of `calibration.json`: what things cost on one thread while as many runs go on as later will. All later numbers of iterations follow from it. */
export interface Calibration {
  readonly format: "tastemaker-experiment-calibration/1";
  readonly environment: Environment;
  /** Runs at the same time. */
  readonly jobs: number;
  /** Processes that were waiting for a core when the measurements began (mean of a minute, highest of all methods): near 0 on an idle machine. */
  readonly load: number;
  /** SHA-256 of what was timed, by method; missing where an earlier version timed it. */
  readonly settings?: Readonly<Partial<Record<Method, string>>>;
  /** Median of an iteration without evaluation. */
  readonly secondsPerIteration: Readonly<Partial<Record<Method, number>>>;
  /** Of a run, besides iterations and evaluations: start, compilation, comparison, report. */
  readonly startSeconds: Readonly<Partial<Record<Method, number>>>;
  /** A picture of an evaluation, made and measured by every metric. */
  readonly pictureSeconds: Readonly<Partial<Record<Method, number>>>;
}
