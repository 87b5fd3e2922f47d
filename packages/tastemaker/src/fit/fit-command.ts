import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { type Backend, UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { RewardFitOptions } from "../cli/commands/reward.ts";
import { openRunEvents } from "../logs/run-events.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { runPretraining } from "../pretrain/pretrain-loop.ts";
import { openReward } from "../rewards/open-reward.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { wallClock } from "../storage/clock.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { hashFile } from "../storage/file-hash.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { RunDirectory } from "../storage/run-directory.ts";
import { packageVersion } from "../storage/package-version.ts";
import { calibrationChart } from "./calibration-chart.ts";
import { type FitSettings, fitStage } from "./fit-stage.ts";
import { openFit } from "./open-fit.ts";
import type { OpenedFit } from "./fit-model.ts";
import { judgePairs } from "./judge-pairs.ts";
import { PairBatches } from "./pair-batches.ts";
import { checkPairPictures } from "./pair-pictures.ts";
import { labelWarnings } from "./label-warnings.ts";
import { pairStatistics } from "./pair-statistics.ts";
import { describeStatistics } from "./describe-statistics.ts";
import { type Pair, readPairs, splitByPrompt } from "./pairs.ts";

/** Everything the trained weights are a function of. */
interface FitRecord extends FitSettings {
  readonly kind: string;
  readonly from: string;
  readonly fromSha256: readonly string[];
  readonly pairs: { readonly path: string; readonly sha256: string; readonly training: number };
  readonly heldOut: { readonly path: string; readonly sha256: string; readonly pairs: number; readonly share?: number; readonly leftOut: number };
  readonly picturesSeen: number;
  readonly trainLayers: number | "usual";
  readonly workers: number;
}

/** What two records must share to be one run: all but paths. */
const identityOf = ({ from: _from, pairs, heldOut, ...rest }: FitRecord): string => JSON.stringify({ ...rest, pairs: { ...pairs, path: "" }, heldOut: { ...heldOut, path: "" } });

/** The record as others may see it: hashes say which files they were, folders are nobody's business. */
const withoutFolders = ({ from, pairs, heldOut, ...rest }: FitRecord): FitRecord => ({ ...rest, from: basename(from), pairs: { ...pairs, path: basename(pairs.path) }, heldOut: { ...heldOut, path: basename(heldOut.path) } });

/** Training and held-out pairs without a common prompt. */
async function openPairs(options: RewardFitOptions, cacheFolder: string): Promise<{ training: readonly Pair[]; heldOut: readonly Pair[]; record: Pick<FitRecord, "pairs" | "heldOut"> }> {
  const file = await readPairs(options.pairs, cacheFolder);
  const about = { path: file.path, sha256: file.sha256 };
  if (options.heldOut === undefined) {
    const { training, heldOut } = splitByPrompt(file.pairs, options.heldOutShare, options.seed);
    return { training, heldOut, record: { pairs: { ...about, training: training.length }, heldOut: { ...about, pairs: heldOut.length, share: options.heldOutShare, leftOut: 0 } } };
  }
  const other = await readPairs(options.heldOut, cacheFolder);
  const prompts = new Set(other.pairs.map(({ prompt }) => prompt));
  const training = file.pairs.filter(({ prompt }) => !prompts.has(prompt));
  if (training.length === 0) throw new UsageError("pairs-prompts", `pairs: expected prompts that are not held out, got none (at ${options.pairs})`, "give other pairs with --held-out");
  const leftOut = file.pairs.length - training.length;
  return { training, heldOut: other.pairs, record: { pairs: { ...about, training: training.length }, heldOut: { path: other.path, sha256: other.sha256, pairs: other.pairs.length, leftOut } } };
}

/** Opens the run of a fit, new or to go on. @throws UsageError `fit-other` when it was begun with other settings or files */
async function openFitRun(root: string, record: FitRecord, threads: number): Promise<RunDirectory> {
  if (!existsSync(join(root, "run.json"))) {
    return RunDirectory.create(root, { kind: `reward fit ${record.kind}`, createdAt: wallClock().toISOString(), config: record, environment: await describeEnvironment(threads), inputs: {} });
  }
  const run = await RunDirectory.open(root);
  if (identityOf(run.record.config as FitRecord) === identityOf(record)) return run;
  await run.close();
  throw new UsageError("fit-other", `reward fit: expected the settings and files that the run was begun with, got others (at ${root}/run.json)`, "choose another --out, or repeat the first command");
}

/** Held-out numbers during training, one line per look. */
async function accuracyCurve(timings: string): Promise<{ picturesSeen: number; accuracy: number | null; logLoss: number | null }[]> {
  const points = new Map<number, { picturesSeen: number; accuracy: number | null; logLoss: number | null }>();
  for (const { seen, accuracy, logLoss } of (await readJsonLines(timings)) as { seen?: unknown; accuracy?: unknown; logLoss?: unknown }[]) {
    const numberOrNull = (value: unknown): number | null => (typeof value === "number" ? value : null);
    if (typeof seen === "number") points.set(seen, { picturesSeen: seen, accuracy: numberOrNull(accuracy), logLoss: numberOrNull(logLoss) });
  }
  return [...points.values()];
}

/** A folder that holds anything but a fit is left alone: it may be what the fit begins with. @throws UsageError `folder-not-empty` */
async function requireOwnFolder(out: string): Promise<void> {
  if (existsSync(join(out, "run", "run.json")) || !existsSync(out)) return;
  const names = (await readdir(out)).filter((name) => name !== "run" && name !== "pictures");
  if (names.length > 0) throw new UsageError("folder-not-empty", `--out: expected a new or empty folder, or one with a fit to continue, got one with ${names.slice(0, 3).join(", ")} (at ${out})`, "choose another --out");
}

/** Trains in `out/run` and writes the reward to `out`. Returns the path of the run's held-out looks, or undefined when it was stopped before the end. */
async function train(model: OpenedFit, record: FitRecord, pairs: { readonly training: readonly Pair[]; readonly heldOut: readonly Pair[] }, out: string, threads: number, backend: Backend, { output, signal }: CommandContext): Promise<string | undefined> {
  const { seed, workers, picturesSeen } = record;
  const run = await openFitRun(join(out, "run"), record, threads);
  try {
    const write = async (files: ReadonlyMap<string, string | Uint8Array>): Promise<void> => {
      for (const [name, data] of files) await writeFileAtomic(join(out, name), data);
    };
    const stage = await fitStage(model, record, pairs.training, pairs.heldOut, backend, write);
    run.follow(await openRunEvents(run.paths.root));
    const plan = { samples: picturesSeen, seed, workers, checkpointEvery: Math.ceil(picturesSeen / 20), sampleEvery: Math.ceil(picturesSeen / 20) };
    return (await runPretraining(stage, plan, run, backend, { signal, note: output.note })) ? run.paths.timings : undefined;
  } finally {
    await run.close();
  }
}

/** `tastemaker reward fit`. */
export async function runRewardFit(options: RewardFitOptions, context: CommandContext): Promise<void> {
  const { kind, seed, threads, workers, trainLayers } = options;
  const { output, signal } = context;
  const out = resolve(options.out);
  await requireOwnFolder(out);
  const backend = nodeBackend({ threads });
  const { record: pairRecord, ...pairs } = await openPairs(options, join(out, "pictures"));
  const { training, heldOut } = pairs;
  if (pairRecord.heldOut.leftOut > 0) output.note(`left out ${pairRecord.heldOut.leftOut} training pairs whose prompts are held out`);
  for (const warning of labelWarnings(training)) output.note(`warning: ${warning}`);
  const model = await openFit(options, backend);
  const stopped = (): void => {
    output.note(`stopped; go on with the same command (${out})`);
    output.result({ finished: false, out });
  };
  let timings: string | undefined;
  let record: FitRecord;
  try {
    record = {
      kind,
      from: model.path,
      fromSha256: await Promise.all(model.weightFiles.map(async (path) => (await hashFile(path)).sha256)),
      ...pairRecord,
      learningRate: options.learningRate ?? model.usualRate,
      batch: options.batchSize,
      weightDecay: options.weightDecay,
      mirror: options.mirror === true,
      seed,
      picturesSeen: options.picturesSeen ?? model.usualPasses * new PairBatches(training, 2 * options.batchSize, seed).picturesPerPass,
      trainLayers: trainLayers ?? "usual",
      workers,
    };
    output.note(`${training.length} pairs to train on, ${heldOut.length} held out; ${record.picturesSeen} pictures in steps of ${2 * record.batch * workers}, learning rate ${record.learningRate}`);
    // A run that was begun has had its pictures read.
    if (!existsSync(join(out, "run", "run.json")) && !(await checkPairPictures([...training, ...heldOut], signal))) return stopped();
    await ensureFolder(out);
    timings = await train(model, record, pairs, out, threads, backend, context);
  } finally {
    await model.dispose?.();
  }
  if (timings === undefined) return stopped();
  // Opened anew from its files: what is measured is what others will read.
  const reward = await openReward({ name: kind, path: out }, backend, undefined);
  try {
    const { judged, scale } = await judgePairs(reward, heldOut, signal);
    if (judged.length < heldOut.length) return stopped();
    const statistics = pairStatistics(judged);
    const fit = { format: "tastemaker-reward-fit/1", tastemaker: packageVersion(), settings: withoutFolders(record), scale, heldOut: statistics, curve: await accuracyCurve(timings) };
    await writeFileAtomic(join(out, "calibration.svg"), calibrationChart(kind, statistics));
    await writeFileAtomic(join(out, "fit.json"), `${JSON.stringify(fit, null, 2)}\n`);
    for (const line of describeStatistics(statistics)) output.print(line);
    output.print(`finished: --reward ${kind}=${options.out}`);
    output.result({ finished: true, out, ...fit });
  } finally {
    await reward.dispose();
  }
}
