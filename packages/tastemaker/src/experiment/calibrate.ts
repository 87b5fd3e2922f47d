import { rm } from "node:fs/promises";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { UsageError } from "@tastemaker/tensor";
import { readJsonLines } from "../storage/append-log.ts";
import { monotonicMs } from "../storage/clock.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { hashText } from "../storage/file-hash.ts";
import { runPaths } from "../storage/run-directory.ts";
import type { Budget } from "./budget.ts";
import type { Calibration } from "./calibration.ts";
import { failureOf, runChild } from "./child.ts";
import { readRecord, writeRecord } from "./files.ts";
import type { ExperimentPaths } from "./paths.ts";
import { calibrationIterations, calibrationPictures, calibrationSpec } from "./plan.ts";
import { shellLine, trainArguments } from "./run-command.ts";
import { baseOf, isDivergenceMethod, type Method } from "./run-record.ts";
import { waitForRun } from "./wait-for-run.ts";

/** Three digits are what such a measurement has. */
const measured = (value: number): number => Number(value.toPrecision(3));

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** What a run of `calibrationSpec` says. @param wall of its process, in seconds */
export function timesOf(seconds: readonly number[], wall: number): { iteration: number; start: number; picture: number } {
  const iteration = medianOf(seconds.slice(1, calibrationIterations - 1));
  const picture = Math.max(0, seconds.at(-1)! - iteration) / calibrationPictures;
  const start = Math.max(0, wall - calibrationIterations * iteration - 2 * calibrationPictures * picture);
  return { iteration, start, picture };
}

/** The method whose time stands for another's: divergences differ by a function of one number per picture (Table 3 has its cost), and equal numbers of iterations compare them best. */
function timedAs(method: Method): Method {
  return isDivergenceMethod(method) ? "rocm-kl" : method;
}

/** A calibration in which a method that is timed as another has that one's times, also where an earlier call timed it alone: equal numbers of iterations need one measurement. */
export function withTimesOfAlike(calibration: Calibration, methods: readonly Method[]): Calibration {
  const known = (values: Calibration["secondsPerIteration"]): Calibration["secondsPerIteration"] => ({
    ...values,
    ...Object.fromEntries(methods.flatMap((method) => (values[method] === undefined && values[timedAs(method)] !== undefined ? [[method, values[timedAs(method)]]] : []))),
  });
  return { ...calibration, secondsPerIteration: known(calibration.secondsPerIteration), startSeconds: known(calibration.startSeconds), pictureSeconds: known(calibration.pictureSeconds) };
}

/** What a calibration times, as a hash. */
function timedSettings(budget: Budget, method: Method): string {
  return hashText(JSON.stringify(calibrationSpec(budget, timedAs(method), 0).settings));
}

/** @throws UsageError `calibration-changed` where a method was timed with other settings than the budget now has */
function checkTimed({ settings = {} }: Calibration, budget: Budget, methods: readonly Method[], path: string): void {
  const other = methods.find((method) => settings[timedAs(method)] !== undefined && settings[timedAs(method)] !== timedSettings(budget, method));
  if (other === undefined) return;
  throw new UsageError("calibration-changed", `experiment: expected times of ${other} with this budget's settings, got some of others (at ${path})`, "begin with another --out, or delete that file and the records beside it");
}

export interface CalibrationContext {
  readonly jobs: number;
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

/** Times `jobs` runs of a method at once; undefined when Ctrl-C stopped it. @throws ChildFailure */
async function timeMethod(budget: Budget, method: Method, paths: ExperimentPaths, context: CalibrationContext): Promise<ReturnType<typeof timesOf> | undefined> {
  const { jobs, signal } = context;
  const times = await Promise.all(
    Array.from({ length: jobs }, async (_, copy) => {
      const run = join(paths.work, "calibration", `${method}-${copy}`);
      const log = join(paths.work, "logs", "calibration", `${method}-${copy}.log`);
      await waitForRun(run, context);
      await rm(run, { recursive: true, force: true });
      const args = trainArguments(calibrationSpec(budget, method, copy), run);
      const startedAt = monotonicMs();
      const end = await runChild(args, { log, cache: paths.cache, signal });
      if (signal.aborted) return undefined;
      if (end.code !== 0) throw await failureOf(end, shellLine(args), log);
      const wall = (monotonicMs() - startedAt) / 1000;
      const lines = (await readJsonLines(runPaths(run).timings)) as unknown as { readonly seconds: number }[];
      return timesOf(lines.map(({ seconds }) => seconds), wall);
    }),
  );
  if (times.some((one) => one === undefined)) return undefined;
  const of = (key: "iteration" | "start" | "picture"): number => measured(medianOf(times.map((one) => one![key])));
  return { iteration: of("iteration"), start: of("start"), picture: of("picture") };
}

/**
 * Reads `calibration.json`, and measures and writes what is missing of these methods; undefined when Ctrl-C stopped it.
 * @throws ChildFailure, UsageError `record-damaged`, `calibration-changed`
 */
export async function calibrate(budget: Budget, methods: readonly Method[], paths: ExperimentPaths, context: CalibrationContext): Promise<Calibration | undefined> {
  const { jobs, note, signal } = context;
  const known = await readRecord<Calibration>(paths.calibration, "tastemaker-experiment-calibration/1");
  if (known !== undefined) checkTimed(known, budget, methods, paths.calibration);
  // KL's stands for all divergences, asked for or not.
  let calibration = withTimesOfAlike(known ?? { format: "tastemaker-experiment-calibration/1", environment: await describeEnvironment(1), jobs, load: 0, secondsPerIteration: {}, startSeconds: {}, pictureSeconds: {} }, methods);
  const missing = [...new Set(methods.filter((method) => calibration.secondsPerIteration[method] === undefined).map(timedAs))];
  if (missing.length === 0) {
    if (!isDeepStrictEqual(calibration, known)) await writeRecord(paths.calibration, calibration);
    return calibration;
  }
  const { cpu, cores, node, onnxruntime, tastemaker } = calibration.environment;
  note(`calibrating ${missing.length} methods on ${cpu} (${cores} cores; tastemaker ${tastemaker}, onnxruntime ${onnxruntime}, node ${node}), ${jobs} runs at once`);
  // The highest of the last minute: our own runs count in it from the second method on.
  const load = loadavg()[0]!;
  if (load > 0.25 * availableParallelism()) note(`warning: the machine is not idle (load ${load.toFixed(2)}), so seconds per iteration will be too high and runs too short: stop what else is running, delete ${paths.calibration} and begin again`);
  for (const method of missing) {
    const times = await timeMethod(budget, method, paths, context);
    if (times === undefined || signal.aborted) return undefined;
    const alike = methods.filter((other) => timedAs(other) === method);
    note(`  ${alike.join(", ") || method}: ${times.iteration} s per iteration, ${times.picture} s per picture of an evaluation, ${times.start} s besides (${baseOf(method)})`);
    const { secondsPerIteration, startSeconds, pictureSeconds } = calibration;
    const timed: Calibration = {
      ...calibration,
      load: Math.max(calibration.load, measured(load)),
      secondsPerIteration: { ...secondsPerIteration, [method]: times.iteration },
      startSeconds: { ...startSeconds, [method]: times.start },
      pictureSeconds: { ...pictureSeconds, [method]: times.picture },
      settings: { ...calibration.settings, [method]: timedSettings(budget, method) },
    };
    calibration = withTimesOfAlike(timed, methods);
    await writeRecord(paths.calibration, calibration);
  }
  return calibration;
}
