import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCommandLine } from "../cli/run-command-line.ts";
import type { EvaluationRecord, MetricsLine } from "../report/report-data.ts";
import { meanOf } from "../report/paired-statistics.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { findCheckpoint } from "../storage/run-directory.ts";
import { tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-watch-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line in this process. */
async function command(...args: string[]): Promise<Ended> {
  let [stdout, stderr] = ["", ""];
  const streams = [process.stdout, process.stderr].map((stream) => ({ stream, write: stream.write.bind(stream) }));
  process.stdout.write = (text: string | Uint8Array) => Boolean((stdout += String(text)));
  process.stderr.write = (text: string | Uint8Array) => Boolean((stderr += String(text)));
  try {
    return { code: await runCommandLine(args), stdout, stderr };
  } finally {
    for (const { stream, write } of streams) stream.write = write;
  }
}

const linesOf = async (run: string): Promise<MetricsLine[]> => (await readJsonLines(join(run, "metrics.jsonl"))) as unknown as MetricsLine[];
const statesOf = async (run: string): Promise<unknown[]> => (await linesOf(run)).flatMap(({ iteration, watch }) => (watch === undefined ? [] : [[iteration, watch.state]]));
const adapterOf = async (run: string, choice: "last" | "best" = "last"): Promise<Buffer> => readFile(join((await findCheckpoint(run, choice))!.path, "pytorch_lora_weights.safetensors"));

/*
 * In the tiny world of seed 3 the aesthetic head and CLIPScore are at odds: pushing the first without a divergence costs the second. Measured: from 0.118 to 0.046
 * (0.5 standard deviations) within 40 iterations.
 */
describe("a run that over-optimises", () => {
  const colours = ["red", "blue", "green"];
  const objects = ["cat", "dog", "fox", "house"];
  const prompts = ["a small", "a big", "a"].flatMap((size) => colours.flatMap((colour) => objects.map((object) => `${size} ${colour} ${object}`)));
  const heldOut = prompts.filter((_, index) => index % 2 === 0);
  let world: Awaited<ReturnType<typeof writeTinyWorld>>;
  let config: (watch: object) => object;
  let warned: string;
  let end: Ended;

  async function train(name: string, given: object, ...flags: string[]): Promise<{ run: string; end: Ended }> {
    const path = join(folder, `${name}.json`);
    await writeFile(path, JSON.stringify(given));
    const run = join(folder, name);
    return { run, end: await command("train", "-c", path, "--out", run, ...flags) };
  }

  beforeAll(async () => {
    await mkdir(join(folder, "world"));
    world = await writeTinyWorld(join(folder, "world"), 3);
    config = (watch) =>
      tinyTrainConfig(world, {
        prompts: prompts.filter((_, index) => index % 2 === 1),
        divergence: { kind: "none" },
        beta: 0,
        batchSize: 4,
        steps: 2,
        learningRate: 2e-2,
        iterations: 40,
        evaluation: { every: 10, prompts: heldOut, count: heldOut.length, metrics: [{ name: "clip-score", path: world.clip }] },
        checkpoint: { every: 100, keep: 1 },
        watch,
      });
    ({ run: warned, end } = await train("warned", config({ action: "warn" }), "--json"));
    expect(end.code, end.stderr).toBe(0);
  });

  it("is told of in the terminal, the metrics, the result and the report", async () => {
    expect(await statesOf(warned)).toEqual([[10, "quiet"], [20, "suspected"], [30, "fired"], [40, "fired"]]);
    const finding = /clip-score is worse by 0\.0\d+ ± 0\.0\d+ \(0\.\d+ standard deviations, n = 18, t = [\d.]+, p = [\d.e−]+, limit 0\.0031\) than (?:with the base model|at iteration 10), in 2 evaluations in a row, while the trained reward is higher by 0\.\d+ ± 0\.0\d+/;
    expect(end.stderr.match(/over-optimisation at iteration 30: /g)).toHaveLength(1);
    expect(end.stderr).toMatch(finding);
    const result = JSON.parse(end.stdout) as { finished: boolean; watch: MetricsLine["watch"] & { iteration: number; stopped: boolean }; best: { step: number; path: string } };
    expect(result).toMatchObject({ finished: true, watch: { state: "fired", iteration: 40, stopped: false }, best: { step: 10, path: join(warned, "checkpoints", "step-000010") } });
    expect(result.watch.findings[0]).toMatchObject({ metric: "clip-score", looks: 2, n: 18 });
    const page = await readFile(join(warned, "report.html"), "utf8");
    const banner = page.slice(page.indexOf('<div class="notice alarm"'), page.indexOf("</header>"));
    expect(banner).toContain("<b>Over-optimisation</b> since iteration 30");
    expect(banner).toMatch(finding);
    expect(page.match(/<text class="mark alarm"/g)).toHaveLength(3);
    expect(page.match(/<text class="mark best"/g)).toHaveLength(3);
  });

  it("measures diversity beside the metrics, on the base model as well", async () => {
    const { metrics } = JSON.parse(await readFile(join(warned, "evaluation.json"), "utf8")) as EvaluationRecord;
    expect(metrics).toMatchObject({ aesthetic: { isTrained: true }, "clip-score": { isTrained: false }, diversity: { isTrained: false } });
    const [first] = await linesOf(warned);
    expect(first!.heldOutBefore!["diversity"]!.mean).toBeCloseTo(meanOf(metrics["diversity"]!.base), 10);
  });

  it("keeps the best checkpoint, which export and generate take by name", async () => {
    const best = await adapterOf(warned, "best");
    expect(best.equals(await adapterOf(warned))).toBe(false);
    const file = join(folder, "best.safetensors");
    expect(await command("export", warned, "--checkpoint", "best", "--out", file)).toMatchObject({ code: 0, stdout: `${file}\n` });
    expect((await readFile(file)).equals(best)).toBe(true);
    const make = async (name: string, ...args: string[]): Promise<Buffer> => {
      const out = join(folder, name);
      expect(await command("generate", "a red cat", "--model", world.model, "--steps", "2", "--out", out, ...args)).toMatchObject({ code: 0 });
      return readFile(out);
    };
    const named = await make("by-name.png", "--adapter", warned, "--checkpoint", "best");
    expect(named.equals(await make("by-file.png", "--adapter", file))).toBe(true);
    expect(await command("generate", "a red cat", "--model", world.model, "--adapter", file, "--checkpoint", "best")).toMatchObject({ code: 2, stderr: expect.stringMatching(/expected a run directory to choose checkpoint best from/) as string });
    expect(await command("export", warned, "--checkpoint", "20")).toMatchObject({ code: 2, stderr: expect.stringMatching(/expected one of step 20, got those of step 10, 40/) as string });
  });

  it("stops where it is asked to, is not resumed by accident, and goes on to the bytes of the run that was only warned", async () => {
    const { run, end: stopped } = await train("stopped", config({ action: "stop" }));
    expect(stopped.code, stopped.stderr).toBe(0);
    expect(stopped.stdout).toMatch(/^stopped by the watch after iteration 30 of 40; everything is saved\n/);
    expect(stopped.stdout).toContain(`tastemaker export ${run} --checkpoint best`);
    expect(stopped.stdout).toMatch(/to go on all the same: tastemaker resume \S+ --ignore-watch\n$/);
    expect((await findCheckpoint(run, "last"))!.step).toBe(30);
    expect((await findCheckpoint(run, "best"))!.step).toBe(10);
    expect(await command("resume", run)).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/^error: resume: expected a run without over-optimisation, got one that the watch stopped after iteration 30: clip-score is worse/) as string });
    const resumed = await command("resume", run, "--ignore-watch");
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(await readFile(join(run, "metrics.jsonl"), "utf8")).toBe(await readFile(join(warned, "metrics.jsonl"), "utf8"));
    expect((await adapterOf(run)).equals(await adapterOf(warned))).toBe(true);
    // It is finished now, so there is nothing left to stop.
    expect((await command("resume", run)).code).toBe(0);
  });

  it("is not looked for when the watch is off", async () => {
    const { run, end: silent } = await train("off", { ...config({ action: "off" }), iterations: 2, evaluation: { every: 1, prompts: heldOut, count: 4, seeds: 2, metrics: [] } });
    expect(silent.code, silent.stderr).toBe(0);
    const lines = await linesOf(run);
    expect(lines.map(({ watch, best }) => [watch, typeof best])).toEqual([[undefined, "number"], [undefined, "number"]]);
    // Two pictures of each prompt: one distance per prompt.
    expect(lines[0]!.promptScores!["diversity"]).toHaveLength(4);
    expect(Object.keys(lines[0]!.promptScores!)).toEqual(["aesthetic", "diversity"]);
  });

  it("can be watched for with a metric of one's own, which a run of somebody else must not bring along", async () => {
    const roughness = join(folder, "roughness.mjs");
    await writeFile(roughness, "export default { trace: (image, { ops }) => ops.mean(ops.square(ops.sub(ops.sliceAxis(image, 3, 1, 8), ops.sliceAxis(image, 3, 0, 7))), [1, 2, 3]) };\n");
    const metrics = [{ name: "roughness", path: roughness, higherIsBetter: false }];
    process.env["TASTEMAKER_CACHE"] = join(folder, "cache");
    try {
      const { run, end: trained } = await train("own-metric", { ...config({}), iterations: 2, evaluation: { every: 1, prompts: heldOut, count: 4, metrics } });
      expect(trained.code, trained.stderr).toBe(0);
      expect(trained.stderr).toContain("warning: the watch for over-optimisation cannot fire: 2 evaluations of 2 metrics take p below 0.0063, which 4 held-out prompts cannot give; evaluate at least 8, or less often");
      const record = JSON.parse(await readFile(join(run, "evaluation.json"), "utf8")) as EvaluationRecord;
      expect(record.metrics["roughness"]).toMatchObject({ higherIsBetter: false, isTrained: false });
      process.env["TASTEMAKER_CACHE"] = join(folder, "another-cache");
      expect(await command("resume", run)).toMatchObject({ code: 2, stderr: expect.stringMatching(/expected rewards that were named on this machine before, got the module of reward roughness/) as string });
    } finally {
      delete process.env["TASTEMAKER_CACHE"];
    }
  });

  it("has settings whose mistakes are one clear error each", async () => {
    const rows: readonly (readonly [RegExp, object])[] = [
      [/metric: expected one of pick-score, .*judge.*, got "juge"; did you mean "judge"/, { evaluation: { metrics: ["juge"] } }],
      [/evaluation\.metrics: expected metrics that are not trained on, got "aesthetic"/, { evaluation: { metrics: [{ name: "aesthetic", path: world.taste }] } }],
      [/evaluation\.metrics: expected each name once, got "clip-score" twice/, { evaluation: { metrics: [{ name: "clip-score", path: world.clip }, { name: "clip-score", path: world.clip }] } }],
      [/checkpoint\.best: expected one of held-out, reward, aesthetic, diversity, got "reward2"; did you mean "reward"/, { checkpoint: { best: "reward2" } }],
      [/evaluation\.metrics: expected held-out prompts of the emoji world's grammar for "judge", got "a red cat"/, { evaluation: { metrics: ["judge"], prompts: ["a red cat"] } }],
      [/expected one of warn, stop, off, got "halt" \(at .*watch\.action\)/, { watch: { action: "halt" } }],
    ];
    for (const [index, [message, changes]] of rows.entries()) {
      const { end: refused } = await train(`bad-${index}`, tinyTrainConfig(world, changes));
      expect(refused.code).toBe(2);
      expect(refused.stderr).toMatch(message);
    }
  });
});

describe("on the embedded world", () => {
  const common = ["--batch-size", "1", "--steps", "2", "--iterations", "12", "--seed", "0", "--set", "evaluation.every=6", "--set", "evaluation.count=16", "--threads", "2"];

  it("a run for the aesthetic reward alone, without divergence and with large steps, is caught", async () => {
    const run = join(folder, "hacked");
    const end = await command("train", "--reward", "aesthetic", "--divergence", "none", "--beta", "0", "--learning-rate", "5e-3", ...common, "--out", run);
    expect(end.code, end.stderr).toBe(0);
    const lines = await linesOf(run);
    const before = lines[0]!.heldOutBefore!;
    const { heldOut, watch } = lines.at(-1)!;
    // Measured: aesthetic +0.99, clip-score −0.25, judge −0.72.
    expect(heldOut!["aesthetic"]!.mean - before["aesthetic"]!.mean).toBeGreaterThan(0.3);
    expect(heldOut!["judge"]!.mean - before["judge"]!.mean).toBeLessThan(-0.3);
    expect(watch!.state).toBe("fired");
    expect(watch!.findings.map(({ metric }) => metric)).toEqual(expect.arrayContaining(["clip-score", "judge"]));
    expect(end.stdout).toContain("every evaluated checkpoint shows it");
  });

  it("a run with the demonstration's rewards, divergence and step size is not", async () => {
    const run = join(folder, "held");
    const end = await command("train", "--reward", "aesthetic", "--reward", "clip-score:15", "--divergence", "kl", "--beta", "auto", "--learning-rate", "5e-4", ...common, "--out", run);
    expect(end.code, end.stderr).toBe(0);
    expect(await statesOf(run)).toEqual([[6, "quiet"], [12, "quiet"]]);
    expect(end.stdout + end.stderr).not.toContain("over-optimisation");
    expect((await readFile(join(run, "report.html"), "utf8")).includes("Over-optimisation")).toBe(false);
  });
});
