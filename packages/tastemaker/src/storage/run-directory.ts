import { readdir, readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { AppendLog } from "./append-log.ts";
import { writeFileAtomic } from "./atomic-file.ts";
import { listCheckpoints, pruneCheckpoints, verifyCheckpoint, writeCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { ensureFolder } from "./ensure-folder.ts";
import type { Environment } from "./environment.ts";
import { acquireLock, type RunLock } from "./run-lock.ts";
import { isSystemError, storageError } from "./storage-error.ts";

/** Content of `run.json`: everything needed to explain and repeat a run. */
export interface RunRecord {
  readonly format: 1;
  /** What made the run, e.g. `train`, `pretrain vae`. */
  readonly kind: string;
  /** ISO time at which the run was created. */
  readonly createdAt: string;
  /** The configuration with every default written out. */
  readonly config: unknown;
  readonly environment: Environment;
  /** Hashes of the files the run read (weights, prompts), keyed by role. */
  readonly inputs: Readonly<Record<string, { readonly path: string; readonly sha256: string; readonly sizeBytes?: number }>>;
}

/** Paths inside a run directory. */
export interface RunPaths {
  readonly root: string;
  readonly record: string;
  readonly metrics: string;
  readonly timings: string;
  readonly evaluation: string;
  readonly samples: string;
  readonly checkpoints: string;
  readonly report: string;
  readonly lock: string;
}

/** Paths of the run directory `root`; nothing is read or created. */
export function runPaths(root: string): RunPaths {
  const at = (name: string): string => join(root, name);
  return {
    root,
    record: at("run.json"),
    metrics: at("metrics.jsonl"),
    timings: at("timings.jsonl"),
    evaluation: at("evaluation.json"),
    samples: at("samples"),
    checkpoints: at("checkpoints"),
    report: at("report.html"),
    lock: at("lock"),
  };
}

/**
 * Reads `run.json` of a run directory without taking its lock (reports, exports).
 * @throws UsageError `run-missing` when the folder is no run directory, `run-damaged` when `run.json` cannot be understood
 */
export async function readRunRecord(root: string): Promise<RunRecord> {
  const { record } = runPaths(root);
  let text: string;
  try {
    text = await readFile(record, "utf8");
  } catch (error) {
    if (isSystemError(error) && (error.code === "ENOENT" || error.code === "ENOTDIR")) {
      throw new UsageError("run-missing", `run directory: expected ${record}, got no such file`, "give the folder that `tastemaker train` printed");
    }
    throw storageError(error, "read", record);
  }
  let value: Partial<RunRecord> | null = null;
  try {
    value = JSON.parse(text) as Partial<RunRecord> | null;
  } catch {
    // Reported below.
  }
  if (value?.format !== 1 || typeof value.kind !== "string") {
    throw new UsageError("run-damaged", `run directory: expected a run of format 1 (at ${record})`, "it was written by another program or version");
  }
  return value as RunRecord;
}

/** The newest complete checkpoint of a run, or undefined; reads only. */
export async function findLatestCheckpoint(root: string): Promise<Checkpoint | undefined> {
  return (await listCheckpoints(runPaths(root).checkpoints)).complete.at(-1);
}

async function writeRunRecord({ record: path }: RunPaths, record: RunRecord): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(record, null, 2)}\n`);
}

/** Told of every line that a run's logs receive, after it was written, and closed with the run. */
export interface RunFollower {
  metrics(line: object): Promise<void>;
  timings(line: object): Promise<void>;
  close(): Promise<void>;
}

/** A checkpoint of a run: the newest (`last`), the best by the run's own evaluations, or that after so many iterations. */
export type CheckpointChoice = "last" | "best" | number;

/**
 * The chosen checkpoint of a run, or undefined when it has none at all; reads only.
 * @throws UsageError `checkpoint-missing` listing those there are
 */
export async function findCheckpoint(root: string, choice: CheckpointChoice): Promise<Checkpoint | undefined> {
  const { complete } = await listCheckpoints(runPaths(root).checkpoints);
  const latest = complete.at(-1);
  if (latest === undefined || choice === "last") return latest;
  const step = choice === "best" ? latest.best : choice;
  const found = complete.find((checkpoint) => checkpoint.step === step);
  if (found !== undefined) return found;
  const wanted = choice === "best" ? `the best one${step === undefined ? " (the run has not been evaluated yet)" : ` (step ${step})`}` : `one of step ${step}`;
  throw new UsageError("checkpoint-missing", `checkpoint: expected ${wanted}, got those of step ${complete.map((checkpoint) => checkpoint.step).join(", ")} (at ${root})`, "choose last or one of these steps with --checkpoint");
}

/**
 * A run directory held by this process. `metrics.jsonl` holds nothing that depends on time or machine load, and is cut back to the
 * checkpoint on resume, so an interrupted run ends with the same bytes as an uninterrupted one.
 */
export class RunDirectory {
  readonly paths: RunPaths;
  /** Content of `run.json`. Changes with `changeConfig`. */
  record: RunRecord;
  /** The checkpoint to continue from; undefined at the start of a run. Changes with every `checkpoint` call. */
  latest: Checkpoint | undefined;
  /** What was ignored on opening, in words (damaged checkpoints). */
  readonly warnings: readonly string[];
  readonly #lock: RunLock;
  readonly #metrics: AppendLog;
  readonly #timings: AppendLog;
  #follower: RunFollower | undefined;

  private constructor(paths: RunPaths, record: RunRecord, latest: Checkpoint | undefined, warnings: string[], lock: RunLock, metrics: AppendLog, timings: AppendLog) {
    this.paths = paths;
    this.record = record;
    this.latest = latest;
    this.warnings = warnings;
    this.#lock = lock;
    this.#metrics = metrics;
    this.#timings = timings;
  }

  /**
   * Creates a run in a new or empty folder and locks it.
   * @throws UsageError `run-exists` when the folder holds a run, `folder-not-empty` when it holds anything else, `run-locked`, `no-permission`
   */
  static async create(root: string, record: Omit<RunRecord, "format">): Promise<RunDirectory> {
    const paths = runPaths(resolve(root));
    await ensureFolder(paths.root);
    const lock = await acquireLock(paths.lock);
    try {
      const names = (await readdir(paths.root)).filter((name) => name !== "lock" && !name.startsWith("."));
      if (names.includes("run.json")) {
        throw new UsageError("run-exists", `run directory: expected a new folder, got one that holds a run (at ${paths.root})`, `continue it with \`tastemaker resume ${root}\` or choose another --out`);
      }
      if (names.length > 0) {
        throw new UsageError("folder-not-empty", `run directory: expected a new or empty folder, got one with ${names.slice(0, 3).join(", ")} (at ${paths.root})`, "choose another --out");
      }
      for (const folder of [paths.samples, paths.checkpoints]) await ensureFolder(folder);
      const full: RunRecord = { format: 1, ...record };
      await writeRunRecord(paths, full);
      return await RunDirectory.#opened(paths, full, undefined, [], lock);
    } catch (error) {
      await lock.release();
      throw storageError(error, "create", paths.root);
    }
  }

  /**
   * Locks an existing run and takes its logs back to the newest complete checkpoint (to nothing when there is none).
   * @throws UsageError `run-missing`, `run-locked`, `run-damaged`, `checkpoint-damaged`
   */
  static async open(root: string): Promise<RunDirectory> {
    const paths = runPaths(resolve(root));
    const record = await readRunRecord(paths.root);
    const lock = await acquireLock(paths.lock);
    try {
      for (const folder of [paths.samples, paths.checkpoints]) await ensureFolder(folder);
      const { complete, damaged } = await listCheckpoints(paths.checkpoints);
      const latest = complete.at(-1);
      if (latest !== undefined) await verifyCheckpoint(latest);
      const warnings = damaged.map(({ path, reason }) => `ignored an incomplete checkpoint: ${reason} (at ${path})`);
      return await RunDirectory.#opened(paths, record, latest, warnings, lock);
    } catch (error) {
      await lock.release();
      throw storageError(error, "open", paths.root);
    }
  }

  static async #opened(paths: RunPaths, record: RunRecord, latest: Checkpoint | undefined, warnings: string[], lock: RunLock): Promise<RunDirectory> {
    const start = { lines: 0, bytes: 0 };
    const metrics = await AppendLog.open(paths.metrics, latest?.metrics ?? start);
    const timings = await AppendLog.open(paths.timings, latest?.timings ?? start);
    return new RunDirectory(paths, record, latest, warnings, lock, metrics, timings);
  }

  /** Writes `run.json` again with other settings. */
  async changeConfig(changes: object): Promise<void> {
    const record = { ...this.record, config: { ...(this.record.config as object), ...changes } };
    await writeRunRecord(this.paths, record);
    this.record = record;
  }

  /** Hands every further line to `follower` too. */
  follow(follower: RunFollower): void {
    this.#follower = follower;
  }

  /** Appends one iteration's numbers; they must be a function of the configuration alone (no times, no memory figures). */
  async appendMetrics(line: object): Promise<void> {
    await this.#metrics.append(line);
    await this.#follower?.metrics(line);
  }

  /** Appends what depends on the machine: durations, memory. */
  async appendTimings(line: object): Promise<void> {
    await this.#timings.append(line);
    await this.#follower?.timings(line);
  }

  /**
   * Saves the state after `step` iterations: `fill` writes the files into the given folder, which becomes `checkpoints/step-NNNNNN` as a whole.
   * Then all but the last `keep` checkpoints and that of step `best` are removed.
   * @throws UsageError `disk-full`, `no-permission`; earlier checkpoints are then untouched
   */
  async checkpoint(step: number, fill: (path: string) => Promise<void>, options: { keep: number; best?: number }): Promise<Checkpoint> {
    await this.#metrics.sync();
    await this.#timings.sync();
    const { best } = options;
    const about = { step, metrics: this.#metrics.position, timings: this.#timings.position, ...(best === undefined ? {} : { best }) };
    this.latest = await writeCheckpoint(this.paths.checkpoints, about, fill);
    await pruneCheckpoints(this.paths.checkpoints, options.keep, best);
    return this.latest;
  }

  /** Writes a file of the run (a sample, `evaluation.json`, `report.html`) atomically; folders of `name` are created. */
  async writeFile(name: string, data: string | Uint8Array): Promise<string> {
    const path = join(this.paths.root, name);
    await ensureFolder(dirname(path));
    await writeFileAtomic(path, data);
    return path;
  }

  /** Closes the logs and gives the lock back. */
  async close(): Promise<void> {
    await this.#follower?.close();
    await this.#metrics.close();
    await this.#timings.close();
    await this.#lock.release();
  }
}
