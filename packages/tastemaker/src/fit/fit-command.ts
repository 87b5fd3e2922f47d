import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { RewardFitOptions } from "../cli/commands/reward.ts";
import { openRunEvents } from "../logs/run-events.ts";
import { worldName, worldPart } from "../models/emoji-world.ts";
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
import { clipFit } from "./clip-fit.ts";
import { type FitSettings, fitStage } from "./fit-stage.ts";
import { judgePairs } from "./judge-pairs.ts";
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
  readonly trainLayers: number | "all" | "usual";
  readonly workers: number;
}

/** What two records must share to be one run: all but paths. */
const identityOf = ({ from: _from, pairs, heldOut, ...rest }: FitRecord): string => JSON.stringify({ ...rest, pairs: { ...pairs, path: "" }, heldOut: { ...heldOut, path: "" } });

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

/** `tastemaker reward fit`. */
export async function runRewardFit(options: RewardFitOptions, { output, signal }: CommandContext): Promise<void> {
  const { kind, seed, threads, workers, trainLayers } = options;
  const out = resolve(options.out);
  const backend = nodeBackend({ threads });
  const { model, clip } = await clipFit(kind, options.from === worldName ? worldPart("clip") : options.from, options.vocabulary, trainLayers);
  await ensureFolder(out);
  const root = join(out, "run");
  const { training, heldOut, record: pairRecord } = await openPairs(options, join(out, "pictures"));
  if (pairRecord.heldOut.leftOut > 0) output.note(`left out ${pairRecord.heldOut.leftOut} training pairs whose prompts are held out`);
  const settings: FitSettings = { learningRate: options.learningRate ?? (clip.config.vision.width >= 512 ? 3e-6 : 2e-4), batch: options.batchSize, weightDecay: options.weightDecay, seed };
  const picturesSeen = options.picturesSeen ?? 8 * training.length;
  const record: FitRecord = {
    kind,
    from: clip.path,
    fromSha256: await Promise.all(clip.files.map(async (path) => (await hashFile(path)).sha256)),
    ...pairRecord,
    ...settings,
    picturesSeen,
    trainLayers: trainLayers ?? (kind === "pick-score" ? "all" : "usual"),
    workers,
  };
  output.note(`${training.length} pairs to train on, ${heldOut.length} held out; ${picturesSeen} pictures in steps of ${2 * settings.batch * workers}, learning rate ${settings.learningRate}`);
  const write = async (files: ReadonlyMap<string, string | Uint8Array>): Promise<void> => {
    for (const [name, data] of files) await writeFileAtomic(join(out, name), data);
  };
  const stage = await fitStage(model, settings, training, heldOut, backend, write);
  const run = await openFitRun(root, record, threads);
  try {
    run.follow(await openRunEvents(run.paths.root));
    const plan = { samples: picturesSeen, seed, workers, checkpointEvery: Math.ceil(picturesSeen / 20), sampleEvery: Math.ceil(picturesSeen / 20) };
    const isFinished = await runPretraining(stage, plan, run, backend, { signal, note: output.note });
    if (!isFinished) {
      output.note(`stopped; go on with the same command (${out})`);
      output.result({ finished: false, out });
      return;
    }
  } finally {
    await run.close();
  }
  // Opened anew from its files: what is measured is what others will read.
  const reward = await openReward({ name: kind, path: out }, backend, undefined);
  try {
    const { judged, scale } = await judgePairs(reward, heldOut, signal);
    if (judged.length < heldOut.length) {
      output.note(`stopped while measuring; go on with the same command (${out})`);
      return;
    }
    const statistics = pairStatistics(judged);
    const fit = { format: "tastemaker-reward-fit/1", tastemaker: packageVersion(), settings: record, scale, heldOut: statistics, curve: await accuracyCurve(run.paths.timings) };
    await writeFileAtomic(join(out, "calibration.svg"), calibrationChart(kind, statistics));
    await writeFileAtomic(join(out, "fit.json"), `${JSON.stringify(fit, null, 2)}\n`);
    for (const line of describeStatistics(statistics)) output.print(line);
    output.print(`finished: --reward ${kind}=${options.out}`);
    output.result({ finished: true, out, ...fit });
  } finally {
    await reward.dispose();
  }
}
