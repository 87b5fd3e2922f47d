import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { RunDirectory } from "../storage/run-directory.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { resolveTrainConfig } from "../config/load-config.ts";
import { runTastemaker, withTemporaryFolder } from "../testing/child.ts";
import { lineChart, niceTicks, smooth } from "./line-chart.ts";
import { comparePairs, studentQuantile, studentTail } from "./paired-statistics.ts";
import type { EvaluationRecord, MetricsLine } from "./report-data.ts";
import { writeReport } from "./write-report.ts";

/** Deterministic noise in [−1, 1]. */
function noise(index: number): number {
  const value = Math.sin(index * 12.9898) * 43758.5453;
  return 2 * (value - Math.floor(value)) - 1;
}

async function picture(index: number, isTuned: boolean): Promise<Buffer> {
  const hue = (index * 47) % 360;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64" fill="hsl(${(hue + 160) % 360} ${isTuned ? 60 : 30}% 75%)"/><circle cx="32" cy="32" r="${isTuned ? 22 : 18}" fill="hsl(${hue} ${isTuned ? 90 : 55}% 50%)"/><circle cx="25" cy="27" r="3"/><circle cx="39" cy="27" r="3"/></svg>`;
  return sharp(Buffer.from(svg)).png().toBuffer();
}

/** A run directory as training leaves it. */
async function sampleRun(root: string, iterations: number): Promise<void> {
  const config = resolveTrainConfig(undefined, [
    { path: "iterations", value: iterations, option: "--iterations" },
    { path: "rewards", value: [{ name: "clip-score" }, { name: "aesthetic", weight: 0.5 }], option: "--reward" },
  ]);
  const environment = await describeEnvironment(2);
  const run = await RunDirectory.create(root, { kind: "train", createdAt: "2026-11-23T10:00:00.000Z", config, environment, inputs: { unet: { path: "worlds/emoji/lcm/unet/diffusion_pytorch_model.safetensors", sha256: "ab".repeat(32) } } });
  for (let iteration = 1; iteration <= iterations; iteration++) {
    const progress = 1 - Math.exp(-iteration / 90);
    const clip = 0.72 + 0.12 * progress + 0.05 * noise(iteration);
    const aesthetic = -0.2 + 1.1 * progress + 0.4 * noise(iteration + 5000);
    const line: MetricsLine = {
      iteration,
      reward: clip + 0.5 * aesthetic,
      rewards: { "clip-score": clip, aesthetic },
      divergence: 0.06 * progress * (1 + 0.4 * noise(iteration + 900)),
      beta: 0.2 + 2.4 * progress,
      loss: -clip,
      gradNorm: 0.5 + 0.3 * noise(iteration + 77) + 0.3 * progress,
      ...(iteration % 40 === 0 || iteration === 1 ? { heldOut: { "clip-score": { mean: 0.7 + 0.1 * progress, standardError: 0.011 }, "judge accuracy": { mean: 0.81 + 0.06 * progress, standardError: 0.03 } } } : {}),
    };
    await run.appendMetrics(line);
    await run.appendTimings({ iteration, ms: 700 });
  }
  const prompts = Array.from({ length: 64 }, (_, index) => ["a big cat on a blue background", "a small fox next to a rocket", "a <b>bold</b> & \"quoted\" frog, 3d style", "a pumpkin on a red to orange background"][index % 4]! + (index < 4 ? "" : ` no ${index}`));
  const list = (mean: number, spread: number, offset: number): number[] => prompts.map((_, index) => mean + spread * noise(index + offset));
  const base = list(0.71, 0.12, 1);
  const images = [];
  for (let index = 0; index < 12; index++) {
    const names = { base: `samples/held-out/${index}-base.png`, tuned: `samples/held-out/${index}-tuned.png` };
    await run.writeFile(names.base, await picture(index, false));
    await run.writeFile(names.tuned, await picture(index, true));
    images.push({ prompt: prompts[index]!, ...names });
  }
  const evaluation: EvaluationRecord = {
    format: 1,
    prompts,
    promptsSha256: "cd".repeat(32),
    seed: 1,
    images,
    metrics: {
      "clip-score": { base, tuned: base.map((value, index) => value + 0.09 + 0.03 * noise(index + 40)), unit: "cosine", isTrained: true },
      aesthetic: { base: list(-0.2, 0.8, 300), tuned: list(0.9, 0.7, 900), unit: "standard deviations", isTrained: true },
      "judge accuracy": { base: prompts.map((_, index) => Number(index % 5 > 0)), tuned: prompts.map((_, index) => Number(index % 7 > 0)) },
      "clipped pixels": { base: list(0.02, 0.01, 9), tuned: list(0.045, 0.02, 70), unit: "share", higherIsBetter: false },
    },
  };
  await run.writeFile("evaluation.json", JSON.stringify(evaluation));
  await run.close();
}

describe("report", () => {
  it("shows pictures, numbers with errors, curves and settings in one file that asks the network for nothing", () =>
    withTemporaryFolder(async (folder) => {
      const root = process.env["TASTEMAKER_SAMPLE_REPORT"] ?? join(folder, "first");
      await sampleRun(root, 400);
      const end = await runTastemaker("report", root);
      expect(end).toMatchObject({ code: 0, stderr: "", stdout: `${join(root, "report.html")}\n` });
      const page = await readFile(join(root, "report.html"), "utf8");
      expect(page.match(/<img /g)).toHaveLength(24);
      expect(page.match(/<figure class="chart">/g)).toHaveLength(7);
      expect(page).not.toMatch(/(src|href)="(?!data:)|url\(|@import|fetch\(/);
      expect(page).not.toMatch(/NaN|undefined|Infinity|<b>bold/);
      expect(page).toContain("a &lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot; frog");
      expect(page).toContain("<td>divergence.kind</td><td><code>kl</code></td>");
      expect(page).toContain("ab".repeat(32));
      expect(page).toContain("cd".repeat(32));
    }));

  it("can be written before the first iteration and without evaluation", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "new");
      const run = await RunDirectory.create(root, { kind: "train", createdAt: "2026-11-23T10:00:00.000Z", config: { iterations: 5 }, environment: await describeEnvironment(1), inputs: {} });
      expect(await readFile(await writeReport(root), "utf8")).toContain("0 of 5 iterations so far");
      await run.appendMetrics({ iteration: 1, reward: 0.5, rewards: {}, divergence: 0, beta: 0, loss: -0.5, gradNorm: Number.NaN });
      const page = await readFile(await writeReport(root), "utf8");
      expect(page).toContain("has not been evaluated yet");
      expect(page).not.toContain("NaN");
      await run.close();
    }));

  it("refuses an evaluation whose lists do not fit or whose pictures are missing", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "bad");
      await (await RunDirectory.create(root, { kind: "train", createdAt: "", config: {}, environment: await describeEnvironment(1), inputs: {} })).close();
      await mkdir(join(root, "samples"), { recursive: true });
      const write = (value: object): Promise<void> => writeFile(join(root, "evaluation.json"), JSON.stringify(value));
      await write({ format: 1, prompts: ["a"], metrics: { m: { base: [1], tuned: [] } }, images: [] });
      await expect(writeReport(root)).rejects.toMatchObject({ code: "run-damaged", message: expect.stringContaining('metric "m"') as string });
      await write({ format: 1, prompts: ["a"], metrics: {}, images: [{ prompt: "a", base: "samples/x.png", tuned: "samples/y.png" }] });
      await expect(writeReport(root)).rejects.toMatchObject({ code: "path-missing", message: expect.stringContaining("x.png") as string });
    }));
});

describe("paired comparison", () => {
  it("agrees with a hand computation", () => {
    const pairs = comparePairs([1, 2, 3, 4], [2, 4, 3, 7]);
    expect(pairs).toMatchObject({ n: 4, base: 2.5, tuned: 4, difference: 1.5, wins: 0.875 });
    expect(pairs.differenceError).toBeCloseTo(Math.sqrt(5 / 3) / 2, 12);
    expect(pairs.high - pairs.difference).toBeCloseTo(3.182 * pairs.differenceError, 2);
  });

  it("uses Student's t as tabulated", () => {
    for (const [degrees, value] of [[1, 12.706], [2, 4.303], [3, 3.182], [4, 2.776], [10, 2.228], [63, 1.998], [1e6, 1.96]] as const) {
      expect(Math.abs(studentQuantile(degrees) / value - 1)).toBeLessThan(0.004);
    }
  });
});

describe("tail of Student's t", () => {
  it("is what tables and closed forms say, far out as well", () => {
    // One degree: 1/2 − arctan(t)/π; two: 1/2 − t/(2√(2 + t²)); the rest from tables.
    for (const t of [0.1, 1, 5, 1000]) {
      expect(studentTail(t, 1) / (Math.atan(1 / t) / Math.PI)).toBeCloseTo(1, 11);
      expect(studentTail(t, 2) / (1 / (t * t + 2 + t * Math.sqrt(t * t + 2)))).toBeCloseTo(1, 9);
    }
    for (const [t, degrees, tail] of [[2.571, 5, 0.025], [1.671, 60, 0.05], [3.46, 60, 0.0005], [1.96, 1e6, 0.025], [3.2905, 1e6, 0.0005]] as const) {
      expect(Math.abs(studentTail(t, degrees) / tail - 1)).toBeLessThan(0.003);
    }
    expect(studentTail(8, 63)).toBeCloseTo(1.78396432739e-11, 19);
  });

  it("is one half at zero, symmetric, and 0 and 1 at the infinities", () => {
    expect(studentTail(0, 7)).toBeCloseTo(0.5, 14);
    for (const t of [0.3, 2, 9]) expect(studentTail(t, 11) + studentTail(-t, 11)).toBeCloseTo(1, 14);
    expect([studentTail(Number.POSITIVE_INFINITY, 3), studentTail(Number.NEGATIVE_INFINITY, 3), studentTail(Number.NaN, 3)]).toEqual([0, 1, Number.NaN]);
  });
});

describe("line chart", () => {
  it("puts ticks on round numbers", () => {
    expect(niceTicks(0, 1, 4)).toEqual([0, 0.25, 0.5, 0.75, 1]);
    expect(niceTicks(-3, 7, 5)).toEqual([-2, 0, 2, 4, 6]);
    expect(niceTicks(2, 2, 4)).toEqual([2]);
  });

  it("smooths long curves to means with standard errors and leaves short ones alone", () => {
    const short = [{ x: 1, y: 2 }, { x: 2, y: 3 }];
    expect(smooth(short)).toEqual(short);
    const long = smooth(Array.from({ length: 1000 }, (_, x) => ({ x, y: 5 + noise(x) })));
    expect(long.length).toBeLessThanOrEqual(41);
    expect(long.at(-1)!.x).toBe(999);
    for (const { y, error } of long) {
      expect(Math.abs(y - 5)).toBeLessThan(0.5);
      expect(error).toBeLessThan(0.15);
    }
  });

  it("survives constants, single points and no points", () => {
    const chart = (points: { x: number; y: number }[]): string => lineChart({ title: "t", caption: "c", series: [{ name: "s", kind: "band", colour: 1, points }] });
    expect(chart([])).toBe("");
    expect(chart([{ x: 1, y: Number.NaN }])).toBe("");
    for (const points of [[{ x: 1, y: 0 }], [{ x: 0, y: 3 }, { x: 9, y: 3 }], [{ x: 1, y: -1e-9 }, { x: 2, y: 1e9 }]]) expect(chart(points)).not.toMatch(/NaN|Infinity/);
  });
});
