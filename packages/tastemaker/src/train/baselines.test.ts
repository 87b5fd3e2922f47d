import { mkdtempSync, rmSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { loadCheckpoint, readTensorFloat32 } from "@tastemaker/diffusion";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needsDiffusion, type ObjectiveName, objectiveNames } from "../config/policy-setting.ts";
import { openNodeFile } from "../platform/node-files.ts";
import { comparePairs } from "../report/paired-statistics.ts";
import type { EvaluationRecord, MetricsLine } from "../report/report-data.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { findLatestCheckpoint } from "../storage/run-directory.ts";
import { type Finished, type Started, startTastemaker } from "../testing/child.ts";
import { runInProcess } from "../testing/in-process.ts";
import { tinyHeldOutPrompts, tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-baselines-"));
let world: Awaited<ReturnType<typeof writeTinyWorld>>;
const policyObjectives = objectiveNames.filter((name) => name !== "rocm");

beforeAll(async () => {
  world = await writeTinyWorld(folder, 1);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function writeConfig(name: string, objective: ObjectiveName, changes: object): Promise<string> {
  const path = join(folder, `${name}.json`);
  // The tiny configuration's beta belongs to rocm.
  const { beta: _beta, ...config } = tinyTrainConfig({ ...world, model: needsDiffusion({ objective, ...changes }) ? world.diffusion : world.model }, { objective }) as { beta: unknown };
  await writeFile(path, JSON.stringify({ ...config, ...changes }));
  return path;
}

async function train(name: string, objective: ObjectiveName, changes: object): Promise<string> {
  const out = join(folder, name);
  const end = await runInProcess("train", "-c", await writeConfig(name, objective, changes), "--out", out);
  expect(end.code, end.stderr).toBe(0);
  return out;
}

const linesOf = async (run: string): Promise<MetricsLine[]> => (await readJsonLines(join(run, "metrics.jsonl"))) as unknown as MetricsLine[];
const metricsText = (run: string): Promise<string> => readFile(join(run, "metrics.jsonl"), "utf8");

/** The newest adapter of a run as one list of numbers. */
async function adapterOf(run: string): Promise<number[]> {
  const checkpoint = await loadCheckpoint([await openNodeFile(join((await findLatestCheckpoint(run))!.path, "pytorch_lora_weights.safetensors"))]);
  const values: number[] = [];
  for (const key of checkpoint.keys()) {
    const { file, entry } = checkpoint.entry(key);
    values.push(...(await readTensorFloat32(file, entry)));
  }
  return values;
}

/** Largest difference relative to the largest value. */
function relative(x: readonly number[], y: readonly number[]): number {
  expect(y).toHaveLength(x.length);
  return Math.max(...x.map((value, i) => Math.abs(value - y[i]!))) / Math.max(...x.map(Math.abs), 1e-12);
}

/** Settings under which every part of an iteration has work: pictures used twice, several updates, ratios beyond the clip range. */
const busy = { iterations: 5, batchSize: 2, learningRate: 3e-3, ema: 0.5, policy: { samplesPerIteration: 8, updatesPerIteration: 2, innerEpochs: 2 }, evaluation: { every: 2, prompts: ["a red house", "a big cat"] }, checkpoint: { every: 2 } };

describe.each(policyObjectives)("the objective %s", (objective) => {
  let whole: string;
  beforeAll(async () => {
    whole = await train(`${objective}-whole`, objective, busy);
  });

  it("starts at the base model, changes the pictures and says what its ratios do", async () => {
    const lines = await linesOf(whole);
    expect(lines).toHaveLength(busy.iterations);
    for (const { policy, gradNorm, reward } of lines) {
      expect(policy!.ratio).toBeGreaterThan(0.5);
      expect(policy!.ratio).toBeLessThan(2);
      expect(policy!.clipFraction).toBeLessThanOrEqual(1);
      expect(gradNorm).toBeGreaterThan(0);
      expect(Number.isFinite(reward)).toBe(true);
    }
    // The second update of an iteration no longer is the policy that sampled.
    expect(Math.max(...lines.map(({ policy }) => policy!.approxKl))).toBeGreaterThan(0);
    expect(lines.every(({ policy }) => (policy!.kl === undefined) === (objective !== "dpok"))).toBe(true);
    if (objective === "dpok") expect(lines.at(-1)!.policy!.kl).toBeGreaterThan(0);
    const { metrics, images } = JSON.parse(await readFile(join(whole, "evaluation.json"), "utf8")) as EvaluationRecord;
    expect(metrics["aesthetic"]!.tuned).not.toEqual(metrics["aesthetic"]!.base);
    expect(images).toHaveLength(2);
    expect(await readFile(join(whole, "report.html"), "utf8")).toContain("Probability ratios");
  });

  it("continues to the same bytes after SIGKILL", () => expectSameAfterKill(whole, `${objective}-killed`, objective, busy));

  it("does not depend on how many pictures are computed together", async () => {
    const settings = { iterations: 3, learningRate: 1e-3, policy: { samplesPerIteration: 8 } };
    const one = await train(`${objective}-batch-1`, objective, { ...settings, batchSize: 1 });
    const four = await train(`${objective}-batch-4`, objective, { ...settings, batchSize: 4 });
    const [a, b] = [await linesOf(one), await linesOf(four)];
    for (const key of ["reward", "gradNorm"] as const) expect(relative(a.map((line) => line[key]), b.map((line) => line[key])), key).toBeLessThan(1e-4);
    expect(relative(await adapterOf(one), await adapterOf(four))).toBeLessThan(1e-4);
  });
});

/** Waits until the run has written so many lines of metrics. */
async function reached(run: string, lines: number, started: Started): Promise<void> {
  let ended: Finished | undefined;
  void started.finished.then((end) => (ended = end));
  for (;;) {
    const text = await metricsText(run).catch(() => "");
    if (text.split("\n").length > lines) return;
    if (ended !== undefined) throw new Error(`the run ended early: ${ended.stderr}`);
    await setTimeout(5);
  }
}

/** Starts a run in a process of its own, kills it, resumes it, and compares what is left with the run that was not disturbed. */
async function expectSameAfterKill(whole: string, name: string, objective: ObjectiveName, changes: object): Promise<void> {
  const out = join(folder, name);
  const started = startTastemaker("train", "-c", await writeConfig(name, objective, changes), "--out", out);
  await reached(out, 3, started);
  started.child.kill("SIGKILL");
  await started.finished;
  const last = await runInProcess("resume", out);
  expect(last.code, last.stderr).toBe(0);
  expect(await metricsText(out)).toBe(await metricsText(whole));
  expect(await adapterOf(out)).toEqual(await adapterOf(whole));
  expect(await readFile(join(out, "evaluation.json"), "utf8")).toBe(await readFile(join(whole, "evaluation.json"), "utf8"));
}

describe("dpok with a learned value baseline", () => {
  const changes = { ...busy, iterations: 6, policy: { ...busy.policy, valueBaseline: true, valueLearningRate: 3e-3, valueUpdates: 20 } };
  let whole: string;
  beforeAll(async () => {
    whole = await train("value-whole", "dpok", changes);
  });

  it("expects nothing of the first pictures and more of later ones", async () => {
    const losses = (await linesOf(whole)).map(({ policy }) => policy!.valueLoss!);
    // The network says 0 and the rewards are scaled by their own deviation.
    expect(losses[0]).toBeCloseTo(1, 4);
    expect(Math.min(...losses.slice(1))).toBeLessThan(losses[0]!);
    const without = await linesOf(join(folder, "dpok-whole"));
    expect(without.every(({ policy }) => policy!.valueLoss === undefined)).toBe(true);
    expect(without.at(-1)!.reward).not.toBe((await linesOf(whole)).at(-1)!.reward);
  });

  it("continues to the same bytes after SIGKILL, the network too", async () => {
    await expectSameAfterKill(whole, "value-killed", "dpok", changes);
    const stateOf = async (run: string): Promise<Buffer> => readFile(join((await findLatestCheckpoint(run))!.path, "state.safetensors"));
    expect((await stateOf(join(folder, "value-killed"))).equals(await stateOf(whole))).toBe(true);
  });
});

describe("one update per iteration", () => {
  it.each(["rlcm", "ddpo", "dpok", "rebel"] as const)("%s has ratios of exactly 1 in every iteration", async (objective) => {
    const lines = await linesOf(await train(`${objective}-exact`, objective, { iterations: 3, batchSize: 4, policy: { samplesPerIteration: 8 } }));
    for (const { policy } of lines) expect(policy).toMatchObject({ ratio: 1, clipFraction: 0, approxKl: 0 });
    if (objective === "dpok") expect(lines.map(({ policy }) => policy!.kl! > 0)).toEqual([false, true, true]);
  });
});

describe("several pictures of each prompt", () => {
  it("are compared with each other alone, from the first iteration on", async () => {
    const path = join(folder, "by-prompt.mjs");
    // All pictures of a prompt are equally good.
    await writeFile(path, "export default { score: (_pictures, prompts) => prompts.map((prompt) => prompt.length) };\n");
    const changes = { iterations: 2, batchSize: 2, rewards: [{ name: "by-prompt", path }] };
    const lines = await linesOf(await train("by-prompt-1", "rlcm", { ...changes, policy: { samplesPerIteration: 8 } }));
    expect(lines[0]!.gradNorm).toBeGreaterThan(0);
    const grouped = await runInProcess("train", "-c", await writeConfig("by-prompt-4", "rlcm", { ...changes, policy: { samplesPerIteration: 8, picturesPerPrompt: 4 } }), "--out", join(folder, "by-prompt-4"));
    expect(grouped.stderr).toMatch(/gradient.*the reward gives all pictures of a prompt the same number; use another reward, or more policy\.picturesPerPrompt/);
    expect(grouped.code).toBe(2);
  });
});

describe("rebel", () => {
  it("tunes a diffusion model too, from pictures of two first latents", async () => {
    const lines = await linesOf(await train("rebel-ddim", "rebel", { iterations: 3, batchSize: 2, policy: { samplesPerIteration: 8, innerEpochs: 2, sampling: "ddim" } }));
    // Before any update the regression misses all of the rewards' difference.
    expect(lines[0]!.loss).toBeGreaterThan(0.1);
    for (const { policy, gradNorm } of lines) {
      expect(gradNorm).toBeGreaterThan(0);
      expect(policy!.approxKl).toBeGreaterThan(0);
    }
  });
});

describe("learning", () => {
  it.each([["rlcm", 0], ["rlcm", 1], ["rebel", 0]] as const)("%s raises the reward on held-out prompts and noise by at least 0.04 and five standard errors, seed %d", async (objective, seed) => {
    const evaluation = { every: 0, prompts: tinyHeldOutPrompts, count: tinyHeldOutPrompts.length, seeds: 8 };
    const run = await train(`learning-${objective}-${seed}`, objective, { seed, steps: 2, batchSize: 16, iterations: 100, learningRate: 1e-2, evaluation, policy: { samplesPerIteration: 64 }, checkpoint: { every: 100 } });
    const { metrics } = JSON.parse(await readFile(join(run, "evaluation.json"), "utf8")) as EvaluationRecord;
    const { difference, differenceError } = comparePairs(metrics["aesthetic"]!.base, metrics["aesthetic"]!.tuned);
    expect(difference).toBeGreaterThan(0.04);
    expect(difference).toBeGreaterThan(5 * differenceError);
  });
});

describe("a reward that gives numbers only", () => {
  const rewards = [{ name: "compressibility" }];

  it("is trained on by rlcm, normalised where asked", async () => {
    const run = await train("compressibility", "rlcm", { iterations: 3, rewards: [{ name: "compressibility", normalize: { base: 16 } }], batchSize: 4, policy: { samplesPerIteration: 8 } });
    const lines = await linesOf(run);
    expect(lines[0]!.rewards["compressibility"]).toBeLessThan(0);
    expect(Math.abs(lines[0]!.normalized!["compressibility"]!)).toBeLessThan(5);
    expect(lines[0]!.gradNorm).toBeGreaterThan(0);
  });

  it("is refused by rocm, with the objectives that take it", async () => {
    const end = await runInProcess("train", "-c", await writeConfig("refused", "rocm", { rewards }), "--out", join(folder, "refused"));
    expect(end.code).toBe(2);
    expect(end.stderr).toMatch(/reward compressibility: expected one with a gradient for the objective "rocm".*rlcm, ddpo, dpok, d3po/);
  });
});

describe("bad settings", () => {
  const rows: [RegExp, ObjectiveName, object][] = [
    [/model: expected a diffusion model \(StableDiffusionPipeline\) for the objective "ddpo", got LatentConsistencyModelPipeline.*use emoji-teacher/, "ddpo", { model: "LCM" }],
    [/model: expected a latent consistency model .*got StableDiffusionPipeline with DDIMScheduler.*objective ddpo, dpok or d3po/, "rlcm", { model: "DIFFUSION" }],
    [/expected a diffusion model for the objective d3po, got emoji.*use emoji-teacher/, "d3po", { model: "emoji" }],
    [/expected settings of the objective rebel, got clipRange/, "rebel", { policy: { clipRange: 0.1 } }],
    [/expected no timesteps with the objective rebel/, "rebel", { timesteps: "skipping", policy: { sampling: "ddim" } }],
    [/expected a consistency model for the objective rebel, got emoji-teacher.*policy\.sampling=ddim/, "rebel", { model: "emoji-teacher" }],
    [/expected a multiple of 4 samples per iteration \(batchSize 2 × updatesPerIteration 1 × 2 pictures per prompt\), got 6/, "rebel", { batchSize: 2, policy: { samplesPerIteration: 6 } }],
    [/expected a consistency model for the objective rlcm, got emoji-teacher.*use emoji/, "rlcm", { model: "emoji-teacher" }],
    [/expected no policy settings with the objective rocm/, "rocm", { policy: { clipRange: 0.1 } }],
    [/expected no beta with the objective rlcm.*policy\.klWeight/, "rlcm", { beta: 0.1 }],
    [/expected no accumulation with the objective ddpo.*samplesPerIteration/, "ddpo", { accumulation: 2 }],
    [/expected no timesteps with the objective dpok/, "dpok", { timesteps: "skipping" }],
    [/expected settings of the objective rlcm, got klWeight .*setting policy\.klWeight.*rlcm has samplesPerIteration/, "rlcm", { policy: { klWeight: 1 } }],
    [/expected a multiple of 6 samples per iteration \(batchSize 3 × updatesPerIteration 2\), got 10 .*for example 12/, "rlcm", { batchSize: 3, policy: { samplesPerIteration: 10, updatesPerIteration: 2 } }],
    [/expected a multiple of picturesPerPrompt 3 as samples per iteration, got 8 .*for example 12/, "ddpo", { batchSize: 2, policy: { samplesPerIteration: 8, picturesPerPrompt: 3 } }],
    [/expected settings of the objective d3po, got picturesPerPrompt/, "d3po", { policy: { picturesPerPrompt: 2 } }],
    [/expected statisticsMinimum of at most statisticsBuffer 4, got 16/, "rlcm", { policy: { statisticsBuffer: 4 } }],
    [/expected no statisticsBuffer with valueBaseline/, "dpok", { policy: { valueBaseline: true, statisticsBuffer: 16 } }],
    [/expected settings of the objective ddpo, got valueBaseline/, "ddpo", { policy: { valueBaseline: true } }],
    [/expected at least 2 steps with the objective rlcm, got 1/, "rlcm", { steps: 1 }],
    [/policy\.clipRang.*clipRange/, "rlcm", { policy: { clipRang: 1 } }],
    [/expected one of rocm, rlcm, ddpo, dpok, d3po, rebel, got "ppo"/, "ppo" as ObjectiveName, {}],
  ];

  it.each(rows)("are one clear error: %s", async (message, objective, changes) => {
    const { model } = changes as { model?: string };
    const own = model === "LCM" ? { model: world.model } : model === "DIFFUSION" ? { model: world.diffusion } : {};
    const end = await runInProcess("train", "-c", await writeConfig("bad", objective, { ...changes, ...own }), "--out", join(folder, "never"));
    expect(end.stderr.trimEnd().split("\n").filter((line) => !line.startsWith("npm warn"))).toHaveLength(1);
    expect(end.stderr).toMatch(message);
    expect(end.code).toBe(2);
  });
});
