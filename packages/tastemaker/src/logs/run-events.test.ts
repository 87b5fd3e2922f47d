import { mkdtempSync, rmSync } from "node:fs";
import { appendFile, cp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { MetricsLine } from "../report/report-data.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { RunDirectory } from "../storage/run-directory.ts";
import { type Finished, runTastemaker, startTastemaker, withTemporaryFolder } from "../testing/child.ts";
import { tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";
import { openRunEvents } from "./run-events.ts";
import { eventFiles, readCurves, readEvents } from "./testing/read-events.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-events-"));
const whole: string = join(folder, "whole");
let config: string;

const readMetrics = async (run: string): Promise<MetricsLine[]> => (await readJsonLines(join(run, "metrics.jsonl"))) as unknown as MetricsLine[];
const sheet = (run: string, iteration: number): Promise<Buffer> => readFile(join(run, `samples/iteration-${String(iteration).padStart(6, "0")}.png`));

beforeAll(async () => {
  config = join(folder, "config.json");
  const world = await writeTinyWorld(folder, 1);
  await writeFile(config, JSON.stringify(tinyTrainConfig(world, { iterations: 11, evaluation: { every: 4, prompts: ["a red house", "a big cat"] }, checkpoint: { every: 3, keep: 9 } })));
  const end = await runTastemaker("train", "-c", config, "--out", whole);
  expect(end.code, end.stderr).toBe(0);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Every number and picture that the logs of a finished run hold, and nothing else, each step once and in order. */
async function expectWholeEvents(run: string): Promise<void> {
  const metrics = await readMetrics(run);
  const expected: Record<string, [number, number][]> = {};
  const base: Record<string, [number, number][]> = {};
  const add = (curves: typeof expected, tag: string, step: number, value: number): unknown => (curves[tag] ??= []).push([step, Math.fround(value)]);
  const before = metrics[0]!.heldOutBefore!;
  for (const [name, { mean }] of Object.entries(before)) for (const curves of [expected, base]) add(curves, `heldOut/${name}`, 0, mean);
  for (const { iteration, reward, divergence, beta, loss, gradNorm, rewards, heldOut = {} } of metrics) {
    for (const [key, value] of Object.entries({ reward, divergence, beta, loss, gradNorm })) add(expected, `training/${key}`, iteration, value);
    for (const [name, value] of Object.entries(rewards)) add(expected, `rewards/${name}`, iteration, value);
    for (const [name, { mean }] of Object.entries(heldOut)) {
      add(expected, `heldOut/${name}`, iteration, mean);
      add(base, `heldOut/${name}`, iteration, before[name]!.mean);
    }
  }
  for (const { iteration, seconds, memoryBytes } of (await readJsonLines(join(run, "timings.jsonl"))) as Record<string, number>[]) {
    add(expected, "machine/seconds", iteration!, seconds!);
    add(expected, "machine/memoryMiB", iteration!, memoryBytes! / 2 ** 20);
  }
  expect(readCurves(run)).toEqual(expected);
  expect(readCurves(join(run, "base"))).toEqual(base);
  for (const [path, steps] of [[run, [4, 8, 11]], [join(run, "base"), [0]]] as const) {
    const pictures = readEvents(path).flatMap(({ step, images }) => Object.entries(images).map(([tag, image]) => ({ step, tag, image })));
    expect(pictures.map(({ step, tag }) => [step, tag])).toEqual(steps.map((step) => [step, "samples/sheet"]));
    for (const { step, image } of pictures) {
      expect(image.png.equals(await sheet(run, step))).toBe(true);
      expect(image).toMatchObject({ width: image.png.readUInt32BE(16), height: image.png.readUInt32BE(20), colorspace: 3 });
    }
  }
}

describe("TensorBoard's events of a training run", () => {
  it("hold every number and sheet, base and tuned under the same tags", () => expectWholeEvents(whole));

  it("change nothing in metrics.jsonl", async () => {
    const keys = (await readMetrics(whole)).map((line) => Object.keys(line).join(" "));
    const usual = "iteration reward rewards divergence beta loss gradNorm";
    expect([...new Set(keys)].sort()).toEqual([usual, `${usual} heldOut promptScores watch best`, `${usual} heldOutBefore promptScoresBefore`]);
  });

  it("show one curve after SIGKILL and resume", async () => {
    const out = join(folder, "killed");
    const first = startTastemaker("train", "-c", config, "--out", out);
    let ended: Finished | undefined;
    void first.finished.then((end) => (ended = end));
    while ((await readMetrics(out).catch(() => [])).length < 5) {
      if (ended !== undefined) throw new Error(`the run ended early: ${ended.stderr}`);
      await setTimeout(5);
    }
    first.child.kill("SIGKILL");
    await first.finished;
    const last = await runTastemaker("resume", out);
    expect(last.code, last.stderr).toBe(0);
    await expectWholeEvents(out);
    expect(await readMetrics(out)).toEqual(await readMetrics(whole));
  });

  it("show one curve when events lie far beyond the checkpoint and the last one is torn", async () => {
    const out = join(folder, "behind");
    await cp(whole, out, { recursive: true });
    for (const name of await readdir(join(out, "checkpoints"))) if (name > "step-000003") await rm(join(out, "checkpoints", name), { recursive: true });
    for (const path of [out, join(out, "base")]) await appendFile(eventFiles(path)[0]!, new Uint8Array([9, 0, 0, 0, 0, 0, 0, 0, 1]));
    expect(Math.max(...readCurves(whole)["training/loss"]!.map(([step]) => step))).toBe(11);
    const end = await runTastemaker("resume", out);
    expect(end.code, end.stderr).toBe(0);
    await expectWholeEvents(out);
    expect(eventFiles(out)).toHaveLength(2);
    const restarts = readEvents(out).filter(({ session }) => session === 1);
    expect(restarts.map(({ step }) => step)).toEqual([0, 4]);
  });

  it("are written anew when they are lost", async () => {
    const out = join(folder, "lost");
    await cp(whole, out, { recursive: true });
    await rm(join(out, "base"), { recursive: true });
    await rm(eventFiles(out)[0]!);
    const run = await RunDirectory.open(out);
    run.follow(await openRunEvents(out));
    await run.close();
    await expectWholeEvents(out);
    const sizes = eventFiles(out).length;
    const link = join(folder, "link");
    await symlink(out, link);
    await (await openRunEvents(link)).close();
    expect(eventFiles(out)).toHaveLength(sizes);
  });
});

describe("TensorBoard's events of pretraining", () => {
  it("have pictures seen as their step, and the sample sheets' scores", () =>
    withTemporaryFolder(async (path) => {
      const root = join(path, "run");
      const run = await RunDirectory.create(root, { kind: "pretrain vae", createdAt: "2026-01-01T00:00:00.000Z", config: {}, environment: await describeEnvironment(1), inputs: {} });
      run.follow(await openRunEvents(root));
      await run.appendMetrics({ step: 1, seen: 8, loss: 0.5, learningRate: 0.25 });
      await run.appendMetrics({ step: 2, seen: 16, loss: 0.25, learningRate: 0.5 });
      const png = await sheet(whole, 4);
      await run.writeFile("samples/00000016.png", png);
      // The last sheet of a run can fall on a step that had one.
      for (const seconds of [3, 4]) await run.appendTimings({ seen: 16, seconds, psnr: 20 });
      await run.close();
      expect(readCurves(root)).toEqual({ "training/loss": [[8, 0.5], [16, 0.25]], "training/learningRate": [[8, 0.25], [16, 0.5]], "samples/psnr": [[16, 20]] });
      const [image, ...others] = readEvents(root).flatMap(({ images }) => Object.values(images));
      expect(others).toEqual([]);
      expect(image!.png.equals(png)).toBe(true);
      expect(await readdir(root)).not.toContain("base");
    }));
});
