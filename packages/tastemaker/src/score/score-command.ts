import { resolve } from "node:path";
import { encodeSafetensors, type TensorToStore } from "@tastemaker/diffusion";
import { type Backend, UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { ScoreOptions } from "../cli/commands/score.ts";
import { printable } from "../cli/output.ts";
import { parseRewards } from "../cli/parse-rewards.ts";
import { Progress } from "../cli/progress.ts";
import { EvaluationCache } from "../evaluate/evaluation-cache.ts";
import type { FileHashes } from "../evaluate/file-hashes.ts";
import { readPicture } from "../images/read-picture.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { openNodeBackend } from "../platform/runtime.ts";
import { meanOf, standardErrorOf } from "../report/paired-statistics.ts";
import { openReward, rewardNames } from "../rewards/open-reward.ts";
import type { Reward } from "../rewards/reward.ts";
import { AppendLog, readJsonLines } from "../storage/append-log.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { packageVersion } from "../storage/package-version.ts";
import { gradientScorer } from "./score-gradient.ts";
import { openScoreRows, type ScoreRow, type ScoreRows } from "./score-rows.ts";

/** What a reward is, in every result: enough to tell whether two numbers may be compared. */
interface ScoredBy {
  readonly name: string;
  readonly unit: string;
  readonly preprocessing?: string;
  readonly source: string;
  /** Of rewards without files, e.g. an endpoint's address and version. */
  readonly version?: string;
  readonly files: readonly { readonly path: string; readonly sha256: string }[];
}

/** First line of an output file. */
interface ScoreHeader {
  readonly format: 1;
  readonly tastemaker: string;
  readonly rows: string;
  readonly rewards: readonly ScoredBy[];
}

/** The scores of one picture. */
interface ScoredRow {
  readonly image: string;
  readonly prompt: string;
  readonly scores: Readonly<Record<string, number>>;
}

async function describeReward({ name, unit, preprocessing, source, version, files }: Reward, hashes: FileHashes): Promise<ScoredBy> {
  const hashed = [];
  for (const path of files) hashed.push({ path, sha256: (await hashes.of(path)).sha256 });
  return { name, unit, ...(preprocessing === undefined ? {} : { preprocessing }), source, ...(version === undefined ? {} : { version }), files: hashed };
}

/** What tells two headers apart: everything but paths. */
const identityOf = ({ rows, rewards, tastemaker }: ScoreHeader): string =>
  JSON.stringify([tastemaker, rows, rewards.map(({ name, preprocessing, version, files }) => [name, preprocessing ?? "", version ?? "", files.map(({ sha256 }) => sha256)])]);

/**
 * Opens the output file, new or to be continued; returns the scores that it has.
 * @throws UsageError `score-out-other` when it belongs to other rewards or pictures
 */
async function openOutput(path: string, header: ScoreHeader): Promise<{ log: AppendLog; done: ScoredRow[] }> {
  const lines = await readJsonLines(path);
  if (lines.length === 0) {
    const log = await AppendLog.open(path, { lines: 0, bytes: 0 });
    await log.append(header);
    return { log, done: [] };
  }
  const found = lines[0] as unknown as Partial<ScoreHeader>;
  if (found.format !== 1 || !Array.isArray(found.rewards) || identityOf(found as ScoreHeader) !== identityOf(header)) {
    throw new UsageError("score-out-other", `--out: expected a new file, or one begun with the same pictures, rewards and version, got another (at ${path})`, "choose another file, or remove it");
  }
  const bytes = lines.reduce((total, line) => total + Buffer.byteLength(`${JSON.stringify(line)}\n`), 0);
  return { log: await AppendLog.open(path, { lines: lines.length, bytes }), done: lines.slice(1) as unknown as ScoredRow[] };
}

async function scoreRow(rewards: readonly Reward[], { image, source, prompt }: ScoreRow): Promise<ScoredRow> {
  const picture = await readPicture(source, image);
  const scores: Record<string, number> = {};
  for (const reward of rewards) {
    const [score] = await reward.score([picture], [prompt]);
    if (score === undefined || !Number.isFinite(score)) throw new UsageError("not-finite", `reward ${reward.name}: expected a finite number, got ${score} (at ${image})`, "the weights are damaged, or belong to another model");
    scores[reward.name] = score;
  }
  return { image, prompt, scores };
}

function summarize(rewards: readonly Reward[], rows: readonly ScoredRow[]): Record<string, { n: number; mean: number; standardError: number | null }> {
  return Object.fromEntries(
    rewards.map(({ name }) => {
      const values = rows.map(({ scores }) => scores[name]!);
      return [name, { n: values.length, mean: meanOf(values), standardError: values.length > 1 ? standardErrorOf(values) : null }];
    }),
  );
}

/** Writes `<reward>.<row>` (gradient by the picture) and `<reward>.<row>.score` (of the differentiable path). */
async function writeGradients(path: string, rewards: readonly Reward[], rows: ScoreRows, backend: Backend): Promise<void> {
  const tensors = new Map<string, TensorToStore>();
  const scorers = rewards.map((reward) => ({ name: reward.name, scorer: gradientScorer(reward, backend) }));
  try {
    let index = 0;
    for await (const { image, source, prompt } of rows.read(0)) {
      const picture = await readPicture(source, image);
      for (const { name, scorer } of scorers) {
        const { score, gradient } = await scorer.of(picture, prompt);
        tensors.set(`${name}.${index}`, { dtype: "F32", shape: [3, picture.height, picture.width], data: gradient });
        tensors.set(`${name}.${index}.score`, { dtype: "F32", shape: [], data: Float32Array.of(score) });
      }
      index++;
    }
  } finally {
    for (const { scorer } of scorers) await scorer.dispose();
  }
  const about = "gradient of the score by the picture in [0, 1], through the differentiable path; .score is the score of that path";
  await writeFileAtomic(resolve(path), encodeSafetensors(tensors, new Map([["about", about]])));
}

/** `tastemaker score`. */
export async function runScore(options: ScoreOptions, { output, signal }: CommandContext): Promise<void> {
  const backend = await openNodeBackend(options);
  const rewards: Reward[] = [];
  try {
    for (const { name, path } of parseRewards(options.reward)) {
      // They belong to networks that are built in.
      const { clip, vocabulary } = rewardNames.includes(name) ? options : {};
      rewards.push(await openReward({ name, ...(path === undefined ? {} : { path }), ...(clip === undefined ? {} : { clip }), ...(vocabulary === undefined ? {} : { vocabulary }) }, backend, undefined, { signal, note: (text) => output.note(`warning: ${text}`) }));
    }
    const { image: images = [], prompt: prompts = [], rows: table, imageColumn, promptColumn, out, gradient } = options;
    const rows = await openScoreRows({ images, prompts, rows: table, imageColumn, promptColumn, needsText: rewards.some(({ needsText }) => needsText) });
    const { hashes } = await EvaluationCache.open();
    const described: ScoredBy[] = [];
    for (const reward of rewards) described.push(await describeReward(reward, hashes));
    const header: ScoreHeader = { format: 1, tastemaker: packageVersion(), rows: rows.identity, rewards: described };
    const opened = out === undefined ? undefined : await openOutput(resolve(out), header);
    const scored: ScoredRow[] = opened?.done ?? [];
    if (scored.length > 0) output.note(`continuing ${out} after ${scored.length} pictures`);
    const progress = new Progress({ label: "scoring", total: rows.count ?? Number.POSITIVE_INFINITY, initial: scored.length });
    const shows = opened === undefined;
    let isStopped = false;
    try {
      for await (const row of rows.read(scored.length)) {
        isStopped = signal.aborted;
        if (isStopped) break;
        const result = await scoreRow(rewards, row);
        scored.push(result);
        await opened?.log.append(result);
        if (rows.count !== undefined && rows.count > 8) progress.update(scored.length);
        if (shows) output.print(`${Object.entries(result.scores).map(([name, value]) => `${name} ${value.toPrecision(7)}`).join("  ")}  ${printable(result.image)}`);
        await letSignalsIn();
      }
    } finally {
      progress.finish();
      await opened?.log.close();
    }
    if (scored.length === 0 && !isStopped) throw new UsageError("score-nothing", `score: expected pictures, got none (in ${table ?? images.join(", ")})`, "the table or folder is empty");
    if (isStopped) output.note(`stopped after ${scored.length} pictures${out === undefined ? "" : "; the same command goes on"}`);
    if (gradient !== undefined && !isStopped) await writeGradients(gradient, rewards, rows, backend);
    const summary = summarize(rewards, scored);
    if (scored.length > 1) {
      for (const [name, { n, mean, standardError }] of Object.entries(summary)) output.print(`${name}: mean ${mean.toPrecision(6)} ± ${(standardError ?? 0).toPrecision(2)} (standard error, n = ${n})`);
    }
    const { rewards: about, ...head } = header;
    output.result({ ...head, rewards: about, summary, ...(out === undefined ? { scores: scored } : { out: resolve(out) }), finished: !isStopped });
  } finally {
    for (const reward of rewards) await reward.dispose();
  }
}
