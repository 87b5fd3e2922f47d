import { mkdtempSync, rmSync } from "node:fs";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { MetricsLine } from "../report/report-data.ts";
import { allowRewards, requireAllowedRewards } from "../rewards/allowed-rewards.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { findLatestCheckpoint } from "../storage/run-directory.ts";
import { type Finished, runTastemaker, startTastemaker } from "../testing/child.ts";
import { tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-own-rewards-"));
const cache = join(folder, "cache");
const warmth = join(folder, "warmth.mjs");
const warmthText = "export default { trace: (image, { ops }) => ops.mean(ops.sub(ops.sliceAxis(image, 1, 0, 1), ops.sliceAxis(image, 1, 2, 3)), [1, 2, 3]) };\n";
let world: Awaited<ReturnType<typeof writeTinyWorld>>;

beforeAll(async () => {
  // What a person allows is remembered there.
  process.env["TASTEMAKER_CACHE"] = cache;
  world = await writeTinyWorld(folder, 1);
  await writeFile(warmth, warmthText);
});
afterAll(() => {
  delete process.env["TASTEMAKER_CACHE"];
  rmSync(folder, { recursive: true, force: true });
});

async function writeConfig(name: string, changes: object): Promise<string> {
  const path = join(folder, `${name}.json`);
  await writeFile(path, JSON.stringify(tinyTrainConfig(world, changes)));
  return path;
}

async function train(name: string, changes: object, ...flags: string[]): Promise<string> {
  const out = join(folder, name);
  const end = await runTastemaker("train", "-c", await writeConfig(name, changes), "--out", out, ...flags);
  expect(end.code, end.stderr).toBe(0);
  return out;
}

function expectError({ code, stderr }: Finished, message: RegExp): void {
  expect(stderr.trimEnd().split("\n").at(-1)).toMatch(message);
  expect(stderr).not.toContain("    at ");
  expect(code).toBe(2);
}

const linesOf = async (run: string): Promise<MetricsLine[]> => (await readJsonLines(join(run, "metrics.jsonl"))) as unknown as MetricsLine[];
const checkpointFile = async (run: string, name: string): Promise<Buffer> => readFile(join((await findLatestCheckpoint(run))!.path, name));

describe("normalised rewards", () => {
  const settings = {
    rewards: [
      { name: "warmth", path: warmth, weight: 0.5, normalize: { base: 12 } },
      { name: "aesthetic", path: "", weight: -2, normalize: { mean: 1, std: 4 } },
    ],
    beta: "auto",
    iterations: 8,
    evaluation: { every: 4, prompts: ["a red house", "a big cat"] },
    checkpoint: { every: 2, keep: 2 },
  };
  let whole: string;
  beforeAll(async () => {
    settings.rewards[1]!.path = world.taste;
    whole = await train("whole", settings);
  });

  it("are measured on the base model once, recorded, and logged beside the raw ones", async () => {
    const record = JSON.parse(await readFile(join(whole, "normalization.json"), "utf8")) as { rewards: Record<string, { mean: number; std: number; pictures: number }> };
    expect(Object.keys(record.rewards)).toEqual(["warmth"]);
    const { mean, std, pictures } = record.rewards["warmth"]!;
    expect(pictures).toBe(12);
    expect(std).toBeGreaterThan(0);
    const lines = await linesOf(whole);
    for (const { reward, rewards, normalized } of lines) {
      expect(normalized!["warmth"]).toBeCloseTo((rewards["warmth"]! - mean) / std, 9);
      expect(normalized!["aesthetic"]).toBeCloseTo((rewards["aesthetic"]! - 1) / 4, 9);
      expect(reward).toBeCloseTo(0.5 * normalized!["warmth"]! - 2 * normalized!["aesthetic"]!, 9);
    }
    // The untrained model's pictures lie where the measured ones did.
    expect(Math.abs(lines[0]!.normalized!["warmth"]!)).toBeLessThan(5);
  });

  it("steer beta by their normalised sum", async () => {
    // Ten times the weights are ten times the spread. The first picture alone has none, and in the first two iterations beta is 1 or without effect.
    const rewards = settings.rewards.map((reward) => ({ ...reward, weight: 10 * (reward.weight ?? 1) }));
    const out = await train("tenfold", { ...settings, rewards, iterations: 3 });
    const [, , third] = await linesOf(whole);
    const [, , tenfold] = await linesOf(out);
    expect(tenfold!.beta / third!.beta).toBeCloseTo(10, 1);
  });

  it("continue to the same bytes after SIGKILL", async () => {
    const out = join(folder, "killed");
    const started = startTastemaker("train", "-c", await writeConfig("killed", settings), "--out", out);
    let ended = false;
    void started.finished.then(() => (ended = true));
    while (!ended && (await readFile(join(out, "metrics.jsonl"), "utf8").catch(() => "")).split("\n").length <= 3) await setTimeout(5);
    started.child.kill("SIGKILL");
    await started.finished;
    const last = await runTastemaker("resume", out);
    expect(last.code, last.stderr).toBe(0);
    expect(last.stderr).toMatch(/using the module of reward warmth at .*warmth\.mjs \(SHA-256 [0-9a-f]{12}…\)/);
    for (const name of ["metrics.jsonl", "normalization.json", "evaluation.json"]) expect(await readFile(join(out, name), "utf8"), name).toBe(await readFile(join(whole, name), "utf8"));
    expect((await checkpointFile(out, "state.safetensors")).equals(await checkpointFile(whole, "state.safetensors"))).toBe(true);
  });

  it("are not measured again in a run that lost what it measured", async () => {
    const copy = join(folder, "lost");
    await cp(whole, copy, { recursive: true });
    await rm(join(copy, "checkpoints", "step-000008"), { recursive: true });
    const text = await readFile(join(copy, "normalization.json"), "utf8");
    await writeFile(join(copy, "normalization.json"), text.replace('"pictures": 12', '"pictures": 13'));
    expectError(await runTastemaker("resume", copy), /^error: run directory: expected mean, std and pictures of reward warmth \(at .*normalization\.json\)/);
    await rm(join(copy, "normalization.json"));
    expectError(await runTastemaker("resume", copy), /^error: cannot read .*normalization\.json/);
  });

  it("that do not differ between pictures are an error that names the reward", async () => {
    const path = join(folder, "constant.mjs");
    await writeFile(path, "export default { trace: (image, { ops }) => ops.add(ops.mul(ops.mean(image, [1, 2, 3]), 0), 0.3) };\n");
    const config = await writeConfig("constant", { rewards: [{ name: "constant", path, normalize: { base: 4 } }] });
    expectError(await runTastemaker("train", "-c", config, "--out", join(folder, "constant")), /^error: reward constant: expected scores that differ between the base model's pictures, .* got 0\.300000 for all 4; give its scale yourself/);
  });
});

describe("rewards that cannot be trained on", () => {
  it("are an error that names the objectives that take them", async () => {
    const config = await writeConfig("numbers", {});
    for (const reward of ["compressibility", `mine=${join(folder, "numbers.mjs")}`]) {
      await writeFile(join(folder, "numbers.mjs"), "export default { score: (pictures) => pictures.map(() => 1) };\n");
      const name = reward.split("=")[0]!;
      expectError(
        await runTastemaker("train", "-c", config, "--reward", reward, "--out", join(folder, "never")),
        new RegExp(`^error: reward ${name}: expected one with a gradient for the objective "rocm", got one that gives numbers only; .*rlcm, ddpo, dpok, d3po`),
      );
    }
  });

  it("do not begin a run when their endpoint is absent", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const config = await writeConfig("absent", {});
    const end = await runTastemaker("train", "-c", config, "--reward", `mine=http://127.0.0.1:${port}/`, "--out", join(folder, "never"));
    expectError(end, new RegExp(`^error: reward mine: expected an answer, got no connection \\(.*\\) \\(at http://127\\.0\\.0\\.1:${port}/\\)$`));
  });

  it("need a name that no metric has", async () => {
    expectError(await runTastemaker("train", "--reward", `judge=${warmth}`, "--iterations", "1", "--out", join(folder, "never")), /^error: rewards: expected names that no metric of the evaluation has, got "judge"/);
  });
});

describe("a run directory from somebody else", () => {
  it("may name built-in rewards and the places of their weights, but no endpoint that was never named on this machine", async () => {
    const notes: string[] = [];
    const note = (text: string): void => void notes.push(text);
    await requireAllowedRewards([{ name: "clip-score" }, { name: "aesthetic", path: "https://example.invalid/head.pth" }], {}, note);
    expect(notes).toEqual([]);
    const mine = [{ name: "mine", path: "https://example.invalid/score" }];
    await expect(requireAllowedRewards(mine, {}, note)).rejects.toMatchObject({ code: "reward-not-allowed", message: expect.stringMatching(/the endpoint of reward mine at https:.* is sent every picture.*TASTEMAKER_ALLOW_REWARD=https:\/\/example\.invalid\/score once$/) as string });
    await allowRewards(mine);
    await requireAllowedRewards(mine, {}, note);
    expect(notes).toEqual(["using the endpoint of reward mine at https://example.invalid/score"]);
  });

  it("does not run a module that was never named on this machine, nor one that has changed", async () => {
    const own = await train("own", { rewards: [{ name: "warmth", path: warmth }], iterations: 2 });
    // The same run where nobody has named the module.
    process.env["TASTEMAKER_CACHE"] = join(folder, "another-cache");
    try {
      const refused = await runTastemaker("resume", own);
      expectError(refused, /^error: resume: expected rewards that were named on this machine before, got the module of reward warmth at .*warmth\.mjs, which only the run directory names; .*set TASTEMAKER_ALLOW_REWARD=[0-9a-f]{64} once$/);
      process.env["TASTEMAKER_ALLOW_REWARD"] = /TASTEMAKER_ALLOW_REWARD=([0-9a-f]+)/.exec(refused.stderr)![1]!;
      expect((await runTastemaker("resume", own)).code).toBe(0);
      delete process.env["TASTEMAKER_ALLOW_REWARD"];
      expect((await runTastemaker("resume", own)).code).toBe(0);
    } finally {
      process.env["TASTEMAKER_CACHE"] = cache;
      delete process.env["TASTEMAKER_ALLOW_REWARD"];
    }
    const marker = join(folder, "marker");
    await writeFile(warmth, `import { writeFileSync } from "node:fs";\nwriteFileSync(${JSON.stringify(marker)}, "");\n${warmthText}`);
    expectError(await runTastemaker("resume", own), /^error: resume: expected the same reward warmth as when the run began \(SHA-256 [0-9a-f]{12}…\), got [0-9a-f]{12}… \(at .*warmth\.mjs\); restore it/);
    await expect(readFile(marker)).rejects.toMatchObject({ code: "ENOENT" });
    await writeFile(warmth, warmthText);
  });
});
