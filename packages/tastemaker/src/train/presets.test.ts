import { mkdtempSync, rmSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TrainConfig } from "../config/train-config.ts";
import type { EvaluationFile } from "../evaluate/record.ts";
import { comparePairs } from "../report/paired-statistics.ts";
import type { EvaluationRecord, MetricsLine } from "../report/report-data.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { runTastemaker, startTastemaker } from "../testing/child.ts";
import { runInProcess } from "../testing/in-process.ts";
import { tinyHeldOutPrompts, tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-presets-"));
let world: Awaited<ReturnType<typeof writeTinyWorld>>;
beforeAll(async () => {
  world = await writeTinyWorld(folder, 1);
  process.env["TASTEMAKER_CACHE"] = join(folder, "cache");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function writeConfig(name: string, kind: "consistency" | "diffusion", changes: object = {}): Promise<string> {
  const path = join(folder, `${name}.json`);
  // What presets say must not be in the file, which counts for more.
  const { beta: _beta, divergence: _divergence, ...config } = tinyTrainConfig(kind === "diffusion" ? { ...world, model: world.diffusion } : world, { iterations: 4, steps: 4, batchSize: 2, ...changes }) as Record<string, unknown>;
  await writeFile(path, JSON.stringify(config));
  return path;
}

async function train(name: string, kind: "consistency" | "diffusion", options: readonly string[], changes: object = {}): Promise<string> {
  const out = join(folder, name);
  const end = await runInProcess("train", "-c", await writeConfig(name, kind, changes), ...options, "--out", out);
  expect(end.code, end.stderr).toBe(0);
  return out;
}

const configOf = async (run: string): Promise<TrainConfig> => (JSON.parse(await readFile(join(run, "run.json"), "utf8")) as { config: TrainConfig }).config;
const metricsText = (run: string): Promise<string> => readFile(join(run, "metrics.jsonl"), "utf8");
const linesOf = async (run: string): Promise<MetricsLine[]> => (await readJsonLines(join(run, "metrics.jsonl"))) as unknown as MetricsLine[];

describe.each(["consistency", "diffusion"] as const)("a preset on a %s model", (kind) => {
  it.each([
    ["draft", {}],
    ["draft-k", { backpropSteps: 1 }],
    ["refl", { backpropSteps: "predicted" }],
  ] as const)("%s trains without a divergence", async (preset, settings) => {
    const run = await train(`${kind}-${preset}`, kind, ["--preset", preset]);
    const config = await configOf(run);
    expect(config).toMatchObject({ objective: "rocm", divergence: { kind: "none" }, beta: 0, ...settings });
    const lines = await linesOf(run);
    expect(lines.map(({ divergence, gradNorm }) => [divergence, gradNorm > 0])).toEqual(Array(4).fill([0, true]));
  });

  it("alignprop trains with its code's optimiser and continues to the same bytes after SIGKILL", async () => {
    // Presets count for less than the file, so the file must not say these.
    const settings = { iterations: 6, checkpoint: { every: 1 }, lora: undefined, learningRate: undefined };
    const whole = await train(`${kind}-whole`, kind, ["--preset", "alignprop"], settings);
    expect(await configOf(whole)).toMatchObject({ backpropSteps: "random", learningRate: 1e-3, maxGradNorm: 1, lora: { rank: 4, alpha: 4 } });
    const out = join(folder, `${kind}-killed`);
    const started = startTastemaker("train", "-c", await writeConfig(`${kind}-killed`, kind, settings), "--preset", "alignprop", "--out", out);
    for (;;) {
      const text = await metricsText(out).catch(() => "");
      if (text.split("\n").length > 2) break;
      await setTimeout(5);
    }
    started.child.kill("SIGKILL");
    await started.finished;
    const last = await runTastemaker("resume", out);
    expect(last.code, last.stderr).toBe(0);
    expect(await metricsText(out)).toBe(await metricsText(whole));
    expect(await readFile(join(out, "evaluation.json"), "utf8")).toBe(await readFile(join(whole, "evaluation.json"), "utf8"));
  });
});

describe("a preset", () => {
  it("yields to the file and to flags", async () => {
    const run = await train("yields", "consistency", ["--preset", "draft-k", "--divergence", "kl", "--set", "backpropSteps=2"], { beta: 0.5, learningRate: 2e-4 });
    expect(await configOf(run)).toMatchObject({ divergence: { kind: "kl" }, backpropSteps: 2, learningRate: 2e-4 });
  });
});

describe("the objective rocm on a diffusion model", () => {
  it("measures divergences of DDIM's steps, and its evaluation is repeated by `evaluate`", async () => {
    const run = await train("kl", "diffusion", ["--divergence", "kl", "--beta", "0.01"], { eta: 0.7, guidanceScale: 3, learningRate: 1e-2, seed: 3 });
    const lines = await linesOf(run);
    expect(lines[0]!.divergence).toBe(0);
    expect(lines.at(-1)!.divergence).toBeGreaterThan(0);
    const own = JSON.parse(await readFile(join(run, "evaluation.json"), "utf8")) as EvaluationRecord;
    const end = await runInProcess("evaluate", run, "--metrics", `aesthetic=${world.taste}`, "--seeds", "1");
    expect(end.code, end.stderr).toBe(0);
    const file = JSON.parse(await readFile(join(run, "evaluation", "evaluation.json"), "utf8")) as EvaluationFile;
    expect(file.settings.ddim).toEqual({ steps: 4, eta: 0.7, guidanceScale: 3 });
    expect(file.variants.map(({ measured }) => measured.scores["aesthetic"])).toEqual([own.metrics["aesthetic"]!.base, own.metrics["aesthetic"]!.tuned]);
  });

  it.each([["draft-k", 0.02], ["alignprop", 0.02], ["refl", 0.02]] as const)("learns with the preset %s: held-out reward rises by at least %d and five standard errors", async (preset, rise) => {
    const evaluation = { every: 0, prompts: tinyHeldOutPrompts, count: tinyHeldOutPrompts.length, seeds: 8 };
    const run = await train(`learning-${preset}`, "diffusion", ["--preset", preset], { iterations: 60, batchSize: 8, learningRate: 5e-3, guidanceScale: 2, evaluation, checkpoint: { every: 60 } });
    const { metrics } = JSON.parse(await readFile(join(run, "evaluation.json"), "utf8")) as EvaluationRecord;
    const { difference, differenceError } = comparePairs(metrics["aesthetic"]!.base, metrics["aesthetic"]!.tuned);
    expect(difference).toBeGreaterThan(rise);
    expect(difference).toBeGreaterThan(5 * differenceError);
  });
});

describe("bad settings", () => {
  const rows: readonly (readonly [RegExp, "consistency" | "diffusion", readonly string[], object])[] = [
    [/--preset: expected one of draft, draft-k, alignprop, refl, got "draftk"/, "consistency", ["--preset", "draftk"], {}],
    [/expected no divergence with the objective ddpo \(at --preset draft\)/, "diffusion", ["--preset", "draft", "--objective", "ddpo"], {}],
    [/eta: expected a diffusion model, got .*model, a consistency model/, "consistency", [], { eta: 0.5 }],
    [/timesteps: expected a consistency model, got .*diffusion, which DDIM samples/, "diffusion", [], { timesteps: "skipping" }],
    [/expected divergence none with eta 0, got kl/, "diffusion", ["--divergence", "kl"], { eta: 0 }],
    [/expected divergence none with backpropSteps predicted, got js/, "consistency", ["--preset", "refl", "--divergence", "js"], {}],
    [/expected checkpointing step or block with backpropSteps random, got none/, "consistency", ["--preset", "alignprop", "--checkpointing", "none"], {}],
    [/expected a whole number from 1 to 50, "random" or "predicted", got "often" \(at --set backpropSteps\)/, "consistency", ["--set", "backpropSteps=often"], {}],
    [/expected no eta with the objective ddpo.*policy\.eta/, "diffusion", ["--objective", "ddpo"], { eta: 0.5 }],
  ];
  it.each(rows)("are one clear error: %s", async (message, kind, options, changes) => {
    const end = await runInProcess("train", "-c", await writeConfig("bad", kind, changes), ...options, "--out", join(folder, "never"));
    expect(end.stderr).toMatch(message);
    expect(end.stderr.trimEnd().split("\n").filter((line) => !line.startsWith("warning"))).toHaveLength(1);
    expect(end.code).toBe(2);
  });
});
