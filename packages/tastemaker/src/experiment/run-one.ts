import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { TrainConfig } from "../config/train-config.ts";
import type { MetricsLine } from "../report/report-data.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { findLatestCheckpoint, readRunRecord, runPaths } from "../storage/run-directory.ts";
import { checkBase, readScores } from "./base.ts";
import type { Budget } from "./budget.ts";
import type { Calibration } from "./calibration.ts";
import { ChildFailure, failureOf, runChild } from "./child.ts";
import { writeRecord } from "./files.ts";
import { keepPictures } from "./kept-pictures.ts";
import { makeRecord } from "./make-record.ts";
import { type ExperimentPaths, specPaths } from "./paths.ts";
import { finalArguments, shellLine, trainArguments } from "./run-command.ts";
import { type BaseRecord, baseOf, type PromptScores, type RunRecord, type RunSpec } from "./run-record.ts";
import { waitForRun } from "./wait-for-run.ts";

export interface RunContext {
  readonly budget: Budget;
  readonly calibration: Calibration;
  readonly base: BaseRecord;
  readonly paths: ExperimentPaths;
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

/** Whether a folder holds the training of this very specification, begun or finished; what was begun with another one is removed. */
async function hasBegun(run: string, specFile: string, spec: RunSpec): Promise<boolean> {
  const text = JSON.stringify(spec);
  const before = await readFile(specFile, "utf8").catch(() => undefined);
  if (before === text && existsSync(runPaths(run).record)) return true;
  await rm(run, { recursive: true, force: true });
  await ensureFolder(dirname(specFile));
  await writeFileAtomic(specFile, text);
  return false;
}

/** Trains or goes on training; false when Ctrl-C stopped it. @throws ChildFailure */
async function trainRun(spec: RunSpec, context: RunContext): Promise<boolean> {
  const { paths, signal } = context;
  const { run, log } = specPaths(paths, spec.id);
  await waitForRun(run, context);
  if (signal.aborted) return false;
  const isBegun = await hasBegun(run, join(paths.work, "specs", `${spec.id}.json`), spec);
  if (isBegun && (await findLatestCheckpoint(run))?.step === spec.iterations) return true;
  const args = isBegun ? ["resume", run] : trainArguments(spec, run);
  const end = await runChild(args, { log, cache: paths.cache, signal });
  // Asked to stop, a run may still have come to its end.
  if ((await findLatestCheckpoint(run).catch(() => undefined))?.step === spec.iterations && end.code === 0) return true;
  if (signal.aborted) return false;
  const failure = await failureOf(end, shellLine(args), log);
  // A process of a killed experiment that was just starting took it in the meantime.
  if (failure.code === "run-locked") return trainRun(spec, context);
  throw failure;
}

/** Scores of the trained model on the final prompts; undefined when Ctrl-C stopped it. @throws ChildFailure, UsageError `base-changed` */
async function scoreRun(spec: RunSpec, { budget, base, paths, signal }: RunContext): Promise<PromptScores | undefined> {
  const { run, evaluation, log } = specPaths(paths, spec.id);
  const args = ["evaluate", run, ...finalArguments(budget, evaluation)];
  const end = await runChild(args, { log, cache: paths.cache, signal });
  if (end.result?.["finished"] !== true) {
    if (signal.aborted) return undefined;
    throw await failureOf(end, shellLine(args), log);
  }
  checkBase(base.scores[baseOf(spec.method)], (await readScores(evaluation, 0)).scores, paths.base);
  return (await readScores(evaluation, 1)).scores;
}

/** Trains and scores; final scores are null where none are asked for, or where the numbers are no longer finite. @returns undefined when Ctrl-C stopped it @throws ChildFailure, UsageError */
async function trainAndScore(spec: RunSpec, context: RunContext): Promise<RunRecord["final"] | undefined> {
  try {
    if (!(await trainRun(spec, context))) return undefined;
    return spec.isScored ? await scoreRun(spec, context) : null;
  } catch (error) {
    if (error instanceof ChildFailure && error.code === "not-finite") return null;
    throw error;
  }
}

/**
 * Makes a run from where it is: trains, measures, writes its record. A run whose numbers are no longer finite is a result too: it is recorded as far as it got, loses every choice, and is named
 * below its table. Otherwise one beta that diverges would keep its divergence out of Table 1.
 * @returns undefined when Ctrl-C stopped it; everything done is kept
 * @throws ChildFailure, UsageError
 */
export async function runOne(spec: RunSpec, context: RunContext): Promise<RunRecord | undefined> {
  const { paths, calibration } = context;
  const { run, record: path, evaluation } = specPaths(paths, spec.id);
  const final = await trainAndScore(spec, context);
  if (final === undefined) return undefined;
  const lines = (await readJsonLines(runPaths(run).metrics)) as unknown as MetricsLine[];
  const { environment, config } = await readRunRecord(run);
  // For others, whose folders are their own.
  const record = makeRecord(spec, lines, { command: shellLine(trainArguments(spec, join("runs", spec.id))), environment, secondsPerIteration: calibration.secondsPerIteration[spec.method]!, final, watch: (config as TrainConfig).watch });
  await keepPictures(spec, paths);
  await writeRecord(path, record);
  // Its numbers are in the record and its pictures in the cache.
  await rm(evaluation, { recursive: true, force: true });
  return record;
}
