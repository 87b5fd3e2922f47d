import { mkdtempSync, rmSync } from "node:fs";
import { cp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { encodeSafetensors, float16ToFloat32, float32ToFloat16, loadCheckpoint, readTensorFloat32, type TensorToStore } from "@tastemaker/diffusion";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCommandLine } from "../cli/run-command-line.ts";
import { openNodeFile } from "../platform/node-files.ts";
import type { EvaluationRecord, MetricsLine } from "../report/report-data.ts";
import { meanOf } from "../report/paired-statistics.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { findLatestCheckpoint } from "../storage/run-directory.ts";
import { type Finished, runTastemaker, type Started, startTastemaker } from "../testing/child.ts";
import { tinyHeldOutPrompts, tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-train-"));
let world: Awaited<ReturnType<typeof writeTinyWorld>>;

beforeAll(async () => {
  world = await writeTinyWorld(folder, 1);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function writeConfig(name: string, changes: object): Promise<string> {
  const path = join(folder, `${name}.json`);
  await writeFile(path, JSON.stringify(tinyTrainConfig(world, changes)));
  return path;
}

async function train(name: string, changes: object, ...flags: string[]): Promise<string> {
  const out = join(folder, name);
  const end = await runTastemaker("train", "-c", await writeConfig(name, changes), "--out", out, ...flags);
  expect(end.stderr, name).not.toContain("error");
  expect(end.code, end.stderr).toBe(0);
  return out;
}

const metricsText = (run: string): Promise<string> => readFile(join(run, "metrics.jsonl"), "utf8");
const adapterPath = async (run: string): Promise<string> => join((await findLatestCheckpoint(run))!.path, "pytorch_lora_weights.safetensors");

async function adapterOf(run: string): Promise<Map<string, Float32Array>> {
  const checkpoint = await loadCheckpoint([await openNodeFile(await adapterPath(run))]);
  const entries = checkpoint.keys().map(async (key): Promise<[string, Float32Array]> => {
    const { file, entry } = checkpoint.entry(key);
    return [key, await readTensorFloat32(file, entry)];
  });
  return new Map(await Promise.all(entries));
}

/** Largest difference of two runs' metrics and adapters, relative to the largest value of each quantity and matrix. */
async function distance(a: string, b: string): Promise<{ metrics: number; adapter: number }> {
  const relative = (x: readonly number[], y: readonly number[]): number => Math.max(...x.map((value, i) => Math.abs(value - y[i]!))) / Math.max(...x.map(Math.abs), 1e-12);
  const [linesA, linesB] = (await Promise.all([a, b].map((run) => readJsonLines(join(run, "metrics.jsonl"))))) as unknown as [MetricsLine[], MetricsLine[]];
  expect(linesB).toHaveLength(linesA.length);
  const metrics = (["reward", "divergence", "loss", "gradNorm"] as const).map((key) => relative(linesA.map((line) => line[key]), linesB.map((line) => line[key])));
  const [adapterA, adapterB] = await Promise.all([adapterOf(a), adapterOf(b)]);
  const adapter = [...adapterA].map(([key, values]) => relative([...values], [...adapterB.get(key)!]));
  return { metrics: Math.max(...metrics), adapter: Math.max(...adapter) };
}

async function expectSameBytes(a: string, b: string): Promise<void> {
  expect(await metricsText(b)).toBe(await metricsText(a));
  expect((await readFile(await adapterPath(b))).equals(await readFile(await adapterPath(a)))).toBe(true);
  expect(await readFile(join(b, "evaluation.json"), "utf8")).toBe(await readFile(join(a, "evaluation.json"), "utf8"));
}

/** Runs a command line in this process, which must end with one line of error and exit code 2. */
async function expectError(message: RegExp, ...args: string[]): Promise<void> {
  let [stdout, stderr] = ["", ""];
  const streams = [process.stdout, process.stderr].map((stream) => ({ stream, write: stream.write.bind(stream) }));
  process.stdout.write = (text: string | Uint8Array) => Boolean((stdout += String(text)));
  process.stderr.write = (text: string | Uint8Array) => Boolean((stderr += String(text)));
  let code: number;
  try {
    code = await runCommandLine(args);
  } finally {
    for (const { stream, write } of streams) stream.write = write;
  }
  const lines = stderr.trimEnd().split("\n").filter((line) => !/^(?:run directory:|preparing |training \d)/.test(line));
  expect(lines, args.join(" ")).toHaveLength(1);
  expect(lines[0]).toMatch(message);
  expect(code).toBe(2);
  expect(stdout).toBe("");
}

/** A copy of the model whose weights are stored as half precision, or as float32 rounded to it. */
async function copyModel(name: string, dtype: "F16" | "F32"): Promise<string> {
  const copy = join(folder, name);
  await cp(world.model, copy, { recursive: true });
  for (const part of ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"]) {
    const path = join(copy, `${part}.safetensors`);
    const checkpoint = await loadCheckpoint([await openNodeFile(path)]);
    const tensors = checkpoint.keys().map(async (key): Promise<[string, TensorToStore]> => {
      const { file, entry } = checkpoint.entry(key);
      const half = float32ToFloat16(await readTensorFloat32(file, entry));
      return [key, dtype === "F16" ? { dtype, shape: entry.shape, data: half } : { dtype, shape: entry.shape, data: float16ToFloat32(half) }];
    });
    await writeFile(path, encodeSafetensors(new Map(await Promise.all(tensors))));
  }
  return copy;
}

describe("training does not depend on how it is computed", () => {
  const settings = { batchSize: 4, accumulation: 1, iterations: 4, learningRate: 1e-3 };
  let reference: string;
  beforeAll(async () => {
    reference = await train("reference", settings);
  });

  it("starts with a divergence of exactly zero and lists every prompt once per pass", async () => {
    const [first] = (await readJsonLines(join(reference, "metrics.jsonl"))) as unknown as MetricsLine[];
    expect(first).toMatchObject({ iteration: 1, beta: 0.5 });
    expect(Math.abs(first!.divergence)).toBeLessThan(1e-9);
  });

  it("batch 1 × accumulation 4 equals batch 4 × 1", async () => {
    const found = await distance(reference, await train("accumulated", { ...settings, batchSize: 1, accumulation: 4 }));
    expect(found.metrics).toBeLessThan(1e-5);
    expect(found.adapter).toBeLessThan(1e-5);
  });

  it("two threads give the bytes of one", async () => {
    await expectSameBytes(reference, await train("two-threads", settings, "--threads", "2"));
  });

  it.each(["none", "step", "block"])("half-precision weights give what the same numbers in float32 give (checkpointing %s)", async (checkpointing) => {
    const [half, single] = await Promise.all([copyModel(`half-${checkpointing}`, "F16"), copyModel(`single-${checkpointing}`, "F32")]);
    const runs = { half: await train(`from-half-${checkpointing}`, { ...settings, model: half, checkpointing }), single: await train(`from-single-${checkpointing}`, { ...settings, model: single, checkpointing }) };
    await expectSameBytes(runs.single, runs.half);
  });

  it.each(["step", "block"])("checkpointing by %s equals one whole program", async (checkpointing) => {
    const found = await distance(reference, await train(`checkpointing-${checkpointing}`, { ...settings, checkpointing }));
    expect(found.metrics).toBeLessThan(1e-4);
    expect(found.adapter).toBeLessThan(1e-4);
  });
});

describe("a stopped run", () => {
  const settings = { iterations: 14, beta: "auto", ema: 0.5, evaluation: { every: 4, prompts: ["a red house", "a big cat"] }, checkpoint: { every: 3, keep: 2 } };
  let whole: string;
  beforeAll(async () => {
    whole = await train("whole", settings);
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

  it("continues to the same bytes after SIGKILL, twice", async () => {
    const out = join(folder, "killed");
    const first = startTastemaker("train", "-c", await writeConfig("killed", settings), "--out", out);
    await reached(out, 2, first);
    first.child.kill("SIGKILL");
    await first.finished;
    const second = startTastemaker("resume", out);
    await reached(out, 7, second);
    second.child.kill("SIGKILL");
    await second.finished;
    const last = await runTastemaker("resume", out);
    expect(last.code, last.stderr).toBe(0);
    await expectSameBytes(whole, out);
  });

  it("finishes its step on Ctrl-C, says how to go on, and then ends with the same bytes", async () => {
    const out = join(folder, "interrupted");
    const run = startTastemaker("train", "-c", await writeConfig("interrupted", settings), "--out", out);
    await reached(out, 1, run);
    run.child.kill("SIGINT");
    const end = await run.finished;
    expect(end.code, end.stderr).toBe(0);
    expect(end.stdout).toMatch(/^stopped after iteration \d+ of 14; everything is saved\. Go on with: tastemaker resume /);
    const stopped = (await findLatestCheckpoint(out))!.step;
    expect((await readJsonLines(join(out, "metrics.jsonl"))).length).toBe(stopped);
    const last = await runTastemaker("resume", out);
    expect(last.code, last.stderr).toBe(0);
    await expectSameBytes(whole, out);
  });

  it("trains on beyond its planned end, to the bytes of a run that was planned for longer", async () => {
    const out = await train("longer", { ...settings, iterations: 8 });
    const end = await runTastemaker("resume", out, "--iterations", "14");
    expect(end.code, end.stderr).toBe(0);
    await expectSameBytes(whole, out);
    const records = await Promise.all([whole, out].map(async (run) => (JSON.parse(await readFile(join(run, "run.json"), "utf8")) as { config: object }).config));
    expect(records[1]).toEqual(records[0]);
  });

  it("refuses another length where it is too short or beta depends on it", async () => {
    await expectError(/^error: resume: expected at least 14, the iterations that are done, got 13 \(at --iterations\); /, "resume", whole, "--iterations", "13");
    await expectError(/^error: resume: expected at most 10000000, got 100000000 \(at --iterations\)/, "resume", whole, "--iterations", "100000000");
    const scheduled = join(folder, "scheduled");
    await cp(whole, scheduled, { recursive: true });
    const path = join(scheduled, "run.json");
    const record = JSON.parse(await readFile(path, "utf8")) as { config: object };
    const text = JSON.stringify({ ...record, config: { ...record.config, beta: { schedule: "linear", from: 1, to: 2 } } });
    await writeFile(path, text);
    await expectError(/^error: resume: expected a beta that does not depend on the number of iterations, got one that goes from 1 to 2 in 14 \(at --iterations\); train anew/, "resume", scheduled, "--iterations", "20");
    expect(await readFile(path, "utf8")).toBe(text);
  });

  it("refuses to go on when the model has changed", async () => {
    const copy = join(folder, "copy");
    await cp(whole, copy, { recursive: true });
    const record = JSON.parse(await readFile(join(copy, "run.json"), "utf8")) as { inputs: { unet: { sha256: string } } };
    record.inputs.unet.sha256 = "0".repeat(64);
    await writeFile(join(copy, "run.json"), JSON.stringify(record));
    await expectError(/^error: resume: expected the same unet as when the run began /, "resume", copy);
  });

  it("exports what diffusers reads, and generates the same picture from run and file", async () => {
    const exported = join(folder, "adapter.safetensors");
    expect((await runTastemaker("export", whole, "--out", exported)).code).toBe(0);
    const pictures = await Promise.all(
      [whole, exported].map(async (adapter, i) => {
        const out = join(folder, `picture-${i}.png`);
        const end = await runTastemaker("generate", "a red cat", "--model", world.model, "--adapter", adapter, "--steps", "3", "--out", out, "--json");
        expect(end.code, end.stderr).toBe(0);
        return readFile(out);
      }),
    );
    expect(pictures[1]!.equals(pictures[0]!)).toBe(true);
  });
});

describe("learning", () => {
  it.each([0, 1])("raises the reward on held-out prompts and noise by at least 0.1, seed %d", async (seed) => {
    const run = await train(`learning-${seed}`, { seed, beta: 0, steps: 2, batchSize: 4, iterations: 100, learningRate: 1e-2, checkpoint: { every: 100 } });
    const { metrics } = JSON.parse(await readFile(join(run, "evaluation.json"), "utf8")) as EvaluationRecord;
    const { base, tuned, isTrained } = metrics["aesthetic"]!;
    expect(isTrained).toBe(true);
    expect(meanOf(tuned) - meanOf(base)).toBeGreaterThan(0.1);
  });
});

describe("automatic beta", () => {
  it("holds a model near its base until its reward has risen on held-out prompts, and says so", async () => {
    const config = await writeConfig("unproven", { beta: "auto", iterations: 20, evaluation: { every: 10, prompts: tinyHeldOutPrompts.slice(0, 2), count: 2 } });
    const run = join(folder, "unproven");
    const end = await runTastemaker("train", "-c", config, "--out", run);
    expect(end.code, end.stderr).toBe(0);
    // Two prompts can hardly show a rise: Student's t with one degree of freedom.
    expect(end.stderr).toContain("iteration 10: the trained reward has not risen significantly on the 2 held-out prompts; automatic beta holds the model near its base until it has");
    const lines = (await readJsonLines(join(run, "metrics.jsonl"))) as unknown as MetricsLine[];
    expect(lines[10]!.beta / lines[9]!.beta).toBeGreaterThan(9);
    expect(lines[19]!.beta).toBeGreaterThan(lines[10]!.beta);
  });
});

describe("bad input", () => {
  it("of training is one clear error each", async () => {
    const config = await writeConfig("bad", {});
    const rows: [RegExp, ...string[]][] = [
      [/model: expected an existing folder or file, a repository of the hub .*got nothing/, "--model", join(folder, "none")],
      [/reward: expected one of pick-score, .*aesthetic.*, got "asthetic"; did you mean "aesthetic"/, "--reward", "asthetic"],
      [/reward hpsv2.0: expected one that the embedded world has, got none/, "--reward", "hpsv2.0=emoji"],
      [/adapter: expected the ending of an attention layer such as [^\n]*, got "to_x"/, "--set", 'lora.targets=["to_x"]'],
      [/expected a number >= 0, got -1 \(at --beta\)/, "--beta", "-1"],
      [/prompts\.txt/, "--prompts", join(folder, "prompts.txt")],
      [/not a directory|ENOTDIR|expected a (?:new )?folder/i, "--out", join(config, "run")],
    ];
    for (const [message, ...args] of rows) await expectError(message, "train", "-c", config, ...(args[0] === "--out" ? args : ["--out", join(folder, "never"), ...args]));
  });

  it("of generating is one clear error each", async () => {
    await expectError(/prompt: expected some text, got an empty one/, "generate", "", "--model", world.model);
    await expectError(/^error: generate: expected a PNG file or a folder, got .*a\.jpg/, "generate", "a cat", "--model", world.model, "--out", join(folder, "a.jpg"));
    await expectError(/^error: generate: expected an adapter with --adapter-scale, got none/, "generate", "a cat", "--model", world.model, "--adapter-scale", "2");
    await expectError(/prompt: expected at most 5000 characters, got 10000/, "generate", "x".repeat(10_000), "--model", world.model);
    const other = join(folder, "other.safetensors");
    const shape = { dtype: "F32", shape: [2, 2], data: new Float32Array(4) } as const;
    await writeFile(other, encodeSafetensors(new Map([["unet.mid_block.attentions.7.transformer_blocks.0.attn1.to_q.lora_A.weight", shape]])));
    await expectError(/the adapter was made for another model/, "generate", "a cat", "--model", world.model, "--adapter", other);
  });

  it("a reward without any slope is an error, not a run that learns nothing", async () => {
    const config = await writeConfig("flat", { rewards: [{ name: "aesthetic", path: world.taste, weight: 0 }], beta: 0 });
    await expectError(/gradient/, "train", "-c", config, "--out", join(folder, "flat"));
  });

  it("a NaN stops the run, names the tensor and keeps the checkpoint", async () => {
    const out = join(folder, "nan");
    const config = await writeConfig("nan", { learningRate: 1, steps: 2, checkpoint: { every: 1 }, maxGradNorm: 1e9, beta: 3e38 });
    await expectError(/^error: training: expected finite numbers, got \S+ in (?:loss|gradient [^\n]*) \(at iteration 2\); [^\n]*the last good checkpoint stays: [^\n]*step-000001$/, "train", "-c", config, "--out", out);
    expect((await findLatestCheckpoint(out))!.step).toBe(1);
  });
});
