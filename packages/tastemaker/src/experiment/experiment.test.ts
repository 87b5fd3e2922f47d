import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { tryLock } from "../storage/run-lock.ts";
import { type Finished, runTastemaker, type Started, startTastemaker } from "../testing/child.ts";
import { runInProcess } from "../testing/in-process.ts";
import { tinyHeldOutPrompts, tinyPrompts, writeTinyWorld } from "../testing/tiny-world.ts";
import { readRunRecords } from "./files.ts";
import type { RunRecord } from "./run-record.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-experiment-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const budgetFile = join(folder, "tiny.json");
const resultsOf = (name: string): string => join(folder, name, "tiny");
const optionsOf = (name: string): string[] => ["--budget", budgetFile, "--out", join(folder, name), "--work", join(folder, `${name}-work`), "--jobs", "2"];
const paper = (name: string): string[] => ["experiment", "paper", ...optionsOf(name), "--only", "table1", "--methods", "rocm-kl,rlcm"];

/** Records without what says where and from which state of the source tree they were made. */
async function recordsOf(name: string): Promise<Map<string, Omit<RunRecord, "command" | "environment">>> {
  return new Map([...(await readRunRecords(join(resultsOf(name), "runs")))].map(([id, { command: _command, environment: _environment, ...record }]) => [id, record]));
}

/** Waits until an experiment has so many records. */
async function reached(name: string, count: number, { finished }: Started): Promise<void> {
  let ended: Finished | undefined;
  void finished.then((end) => (ended = end));
  const found = (): number => {
    try {
      return readdirSync(join(resultsOf(name), "runs"), { recursive: true }).filter((path) => String(path).endsWith(".json")).length;
    } catch {
      return 0;
    }
  };
  while (found() < count) {
    if (ended !== undefined) throw new Error(`it ended before it had ${count} records: ${ended.stderr}`);
    await sleep(20);
  }
}

beforeAll(async () => {
  const world = await writeTinyWorld(join(folder, "world"), 3);
  const budget = {
    trainSeconds: 0.2,
    seeds: 2,
    rewards: ["aesthetic"],
    searchRewards: ["aesthetic"],
    searchFactors: [5, 25],
    betas: [0.1, 1],
    finalPrompts: 6,
    curvePrompts: 4,
    looks: 2,
    diffusionLooks: 2,
    world: {
      models: { emoji: world.model, "emoji-teacher": world.diffusion },
      prompts: tinyPrompts,
      heldOut: tinyHeldOutPrompts,
      animals: ["a cat", "a dog", "a fox"],
      metrics: ["aesthetic", "clip-score"],
      places: { aesthetic: world.taste, "clip-score": world.clip },
      settings: { "lora.rank": 2, steps: 3 },
    },
  };
  await writeFile(budgetFile, JSON.stringify(budget));
});

describe("an experiment", () => {
  let end: Finished;
  beforeAll(async () => {
    end = await runTastemaker("--json", ...paper("whole"));
  });

  it("makes every run of the plan, with the final scores of those that have them", async () => {
    expect(end.code, end.stderr).toBe(0);
    const records = await recordsOf("whole");
    const parts = [...records.values()].map(({ spec }) => spec.part);
    expect(["search", "sweep", "main", "auto", "animals"].map((part) => parts.filter((own) => own === part).length)).toEqual([4, 2, 3, 0, 0]);
    const base = JSON.parse(await readFile(join(resultsOf("whole"), "base.json"), "utf8")) as { prompts: string[]; scores: Record<string, Record<string, number[]>> };
    expect(base.prompts).toEqual(tinyHeldOutPrompts);
    for (const [id, { command }] of await readRunRecords(join(resultsOf("whole"), "runs"))) expect(command).toContain(`--out runs/${id}`);
    for (const [id, { spec, curve, final, watchFiredAt }] of records) {
      expect(curve.map(({ iteration }) => iteration).slice(-1), id).toEqual([spec.iterations]);
      expect(Object.keys(curve[0]!.scores).sort(), id).toEqual(["aesthetic", "clip-score", "diversity"]);
      expect(final === null, id).toBe(spec.part === "search");
      if (final !== null) expect(Object.values(final).map(({ length }) => length), id).toEqual([6, 6]);
      expect(watchFiredAt === null || watchFiredAt <= spec.iterations, id).toBe(true);
    }
    // The sweep's chosen run is the first seed of its row.
    const { betas } = JSON.parse(await readFile(join(resultsOf("whole"), "data", "choices.json"), "utf8")) as { betas: { chosen: { aesthetic: { "rocm-kl": number } } } };
    const beta = betas.chosen.aesthetic["rocm-kl"];
    expect([...records.keys()]).toContain(`main/aesthetic/rocm-kl/beta-${beta}/seed-2`);
    expect([...records.keys()]).not.toContain(`main/aesthetic/rocm-kl/beta-${beta}/seed-1`);
    // Only what is asked for is measured.
    expect(base.scores["emoji-teacher"]).toEqual({});
  });

  it("measures the tuned models, not the base model again", async () => {
    const base = JSON.parse(await readFile(join(resultsOf("whole"), "base.json"), "utf8")) as { scores: { emoji: { aesthetic: number[] } } };
    for (const [id, { final }] of await recordsOf("whole")) if (final !== null) expect(final["aesthetic"], id).not.toEqual(base.scores.emoji.aesthetic);
  });

  it("has nothing to do a second time", async () => {
    const paths = [...(await recordsOf("whole")).keys()].map((id) => join(resultsOf("whole"), "runs", `${id}.json`));
    const times = (): number[] => paths.map((path) => statSync(path).mtimeMs);
    const [before, logs] = [times(), readdirSync(join(folder, "whole-work", "tiny", "logs"), { recursive: true }).map((name) => statSync(join(folder, "whole-work", "tiny", "logs", String(name))).size)];
    const again = await runTastemaker("--json", ...paper("whole"));
    expect(again.code, again.stderr).toBe(0);
    expect(times()).toEqual(before);
    expect(readdirSync(join(folder, "whole-work", "tiny", "logs"), { recursive: true }).map((name) => statSync(join(folder, "whole-work", "tiny", "logs", String(name))).size)).toEqual(logs);
  });

  it("goes on after Ctrl-C and after SIGKILL, and ends with the same records", async () => {
    await mkdir(resultsOf("killed"), { recursive: true });
    // The numbers of iterations follow from it, and another measurement is another number.
    await cp(join(resultsOf("whole"), "calibration.json"), join(resultsOf("killed"), "calibration.json"));
    const first = startTastemaker("--json", ...paper("killed"));
    await reached("killed", 1, first);
    first.child.kill("SIGINT");
    const stopped = await first.finished;
    expect(stopped.code, stopped.stderr).toBe(0);
    expect(JSON.parse(stopped.stdout)).toEqual({ finished: false });
    const kept = (await recordsOf("killed")).size;
    expect(kept).toBeLessThan(9);
    const second = startTastemaker("--json", ...paper("killed"));
    await reached("killed", kept + 1, second);
    second.child.kill("SIGKILL");
    expect((await second.finished).signal).toBe("SIGKILL");
    const third = await runTastemaker("--json", ...paper("killed"));
    expect(third.code, third.stderr).toBe(0);
    expect(await recordsOf("killed")).toEqual(await recordsOf("whole"));
  });

  it("waits for a process of a killed experiment that takes a run while it is being started", async () => {
    await mkdir(resultsOf("raced"), { recursive: true });
    await cp(join(resultsOf("whole"), "calibration.json"), join(resultsOf("raced"), "calibration.json"));
    const trial = "search/aesthetic/rlcm/rate-0.0005/seed-0";
    const [spec, lock] = [`specs/${trial}.json`, `runs/${trial}/lock`].map((path) => join(folder, "raced-work", "tiny", path));
    const started = startTastemaker("--json", "experiment", "search", ...optionsOf("raced"), "--methods", "rlcm");
    // Written when the run is found to be free, and a second before its process takes the lock.
    await vi.waitUntil(() => existsSync(spec!), { timeout: 60_000, interval: 5 });
    await mkdir(dirname(lock!), { recursive: true });
    const taken = await tryLock(lock!);
    if (!("lock" in taken)) throw new Error("expected a free lock");
    let said = "";
    started.child.stderr!.on("data", (chunk: string) => (said += chunk));
    await vi.waitUntil(() => said.includes(`waiting for process ${process.pid}`), 60_000);
    await taken.lock.release();
    const { code, stderr } = await started.finished;
    expect(code, stderr).toBe(0);
    expect((await recordsOf("raced")).get(trial)).toEqual((await recordsOf("whole")).get(trial));
  });

  it("says what is done", async () => {
    const { code, stdout } = await runInProcess("--json", "experiment", "status", ...optionsOf("whole"), "--only", "table1", "--methods", "rocm-kl,rlcm");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ begun: true, parts: { search: { done: 4, planned: 4 }, sweep: { done: 2, planned: 2 }, main: { done: 3, planned: 3 } } });
  });

  it("makes the report again from the records alone", async () => {
    const path = join(resultsOf("whole"), "data", "choices.json");
    const before = await readFile(path, "utf8");
    rmSync(path);
    const { code, stderr } = await runInProcess("experiment", "report", ...optionsOf("whole"));
    expect([code, stderr]).toEqual([0, ""]);
    expect(await readFile(path, "utf8")).toBe(before);
  });

  it("makes only what is asked for", async () => {
    await mkdir(resultsOf("search"), { recursive: true });
    await cp(join(resultsOf("whole"), "calibration.json"), join(resultsOf("search"), "calibration.json"));
    const found = await runTastemaker("--json", "experiment", "search", ...optionsOf("search"), "--methods", "rlcm");
    expect(found.code, found.stderr).toBe(0);
    expect([...(await recordsOf("search")).keys()]).toEqual(["search/aesthetic/rlcm/rate-0.0005/seed-0", "search/aesthetic/rlcm/rate-0.0025/seed-0"]);
  });

  it("refuses times that were measured with other settings", async () => {
    const path = join(folder, "changed", "tiny.json");
    await mkdir(join(folder, "changed"));
    await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(budgetFile, "utf8")) as object), extras: { rlcm: { settings: { "policy.samplesPerIteration": 16 } } } }));
    const refused = await runTastemaker("--json", "experiment", "search", "--budget", path, ...optionsOf("search").slice(2), "--methods", "rlcm");
    expect(refused.code).toBe(2);
    expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: "calibration-changed", message: expect.stringContaining("times of rlcm with this budget's settings") as string } });
  });

  it("refuses records of another budget", async () => {
    const path = join(resultsOf("search"), "calibration.json");
    const calibration = JSON.parse(await readFile(path, "utf8")) as { secondsPerIteration: Record<string, number> };
    await writeFile(path, JSON.stringify({ ...calibration, secondsPerIteration: { ...calibration.secondsPerIteration, rlcm: 1e-3 } }));
    const refused = await runTastemaker("--json", "experiment", "search", ...optionsOf("search"), "--methods", "rlcm");
    expect(refused.code).toBe(2);
    expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: "experiment-changed" } });
  });

  it("records a beta of the sweep that diverges, and makes the row with another", async () => {
    const path = join(folder, "diverging.json");
    // Too large for single precision.
    await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(budgetFile, "utf8")) as object), betas: [0.1, 1e300], searchFactors: [5] }));
    const results = join(folder, "diverging", "diverging");
    await mkdir(results, { recursive: true });
    await cp(join(resultsOf("whole"), "calibration.json"), join(results, "calibration.json"));
    const made = await runTastemaker("--json", "experiment", "paper", "--budget", path, "--out", join(folder, "diverging"), "--work", join(folder, "diverging-work"), "--jobs", "2", "--only", "table1", "--methods", "rocm-kl");
    expect(made.code, made.stderr + made.stdout).toBe(0);
    const records = [...(await readRunRecords(join(results, "runs"))).values()];
    const of = (part: string): RunRecord[] => records.filter(({ spec }) => spec.part === part).sort((a, b) => Number(a.spec.beta) - Number(b.spec.beta));
    expect(of("sweep").map(({ final }) => final === null)).toEqual([false, true]);
    expect(of("main").map(({ spec }) => spec.beta)).toEqual([of("sweep")[0]!.spec.beta]);
  });

  it("reports a run that fails with its command and log, makes the others, and ends with exit code 1", async () => {
    await mkdir(resultsOf("failing"), { recursive: true });
    await cp(join(resultsOf("whole"), "calibration.json"), join(resultsOf("failing"), "calibration.json"));
    // A run that was begun and then damaged.
    const trial = "search/aesthetic/rlcm/rate-0.0005/seed-0";
    const [from, to] = ["whole-work", "failing-work"].map((work) => join(folder, work, "tiny"));
    await cp(join(from!, "specs", `${trial}.json`), join(to!, "specs", `${trial}.json`));
    await mkdir(join(to!, "runs", trial), { recursive: true });
    await writeFile(join(to!, "runs", trial, "run.json"), "{}");
    const failed = await runTastemaker("--json", "experiment", "search", ...optionsOf("failing"), "--methods", "rlcm");
    expect(failed.code, failed.stderr).toBe(1);
    const { finished, failures } = JSON.parse(failed.stdout) as { finished: boolean; failures: { id: string; message: string }[] };
    expect([finished, failures.map(({ id }) => id)]).toEqual([false, [trial]]);
    expect(failures[0]!.message).toMatch(/run of format 1[\s\S]*command: tastemaker resume \S+[\s\S]*log: \S+seed-0\.log/);
    expect([...(await recordsOf("failing")).keys()]).toEqual(["search/aesthetic/rlcm/rate-0.0025/seed-0"]);
  });
});

it("says in one message why nothing can be made", async () => {
  const path = join(folder, "unmeasurable.json");
  const budget = JSON.parse(await readFile(budgetFile, "utf8")) as { world: object };
  await writeFile(path, JSON.stringify({ ...budget, world: { ...budget.world, metrics: ["aesthetic", "judge"] } }));
  const { code, stderr } = await runTastemaker("experiment", "search", "--budget", path, "--out", join(folder, "unmeasurable"), "--work", join(folder, "unmeasurable-work"), "--methods", "rlcm", "--jobs", "1");
  expect(code).toBe(2);
  // The judge reads the emoji world's grammar, which these prompts do not follow.
  expect(stderr).toMatch(/error: experiment: exit code 2: .*judge[\s\S]*command: tastemaker train[\s\S]*log: /);
});

describe("bad input is one message", () => {
  it.each([
    [["--budget", "quik"], /expected .*quick/],
    [["--only", "table7"], /table7/],
    [["--rewards", "beauty"], /beauty/],
    [["--budget", "race", "--rewards", "hpsv2"], /reward: expected one of pick-score, got "hpsv2"/],
    [["--methods", "rocm"], /rocm/],
    [["--budget", "race", "--methods", "d3po"], /method: expected one of rocm-kl, rlcm, ddpo, got "d3po"/],
    [["--budget", "missing.json"], /missing\.json/],
  ])("%j", async (args, message) => {
    const { code, stderr } = await runInProcess("experiment", "status", ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });

  it.each([
    [{ extras: { rlcm: { settings: { learningRate: 1e-5 } } } }, /got "learningRate" \(at extras\.rlcm\.settings of .*refused\.json\); leave it out/],
    [{ extras: { rocm: { settings: { evaluation: { count: 3 } } } } }, /got "evaluation" /],
    [{ extras: { rlcm: { settings: { guidanceScale: 5 } } } }, /got "guidanceScale" .*set it in `world\.settings`/],
    [{ world: { settings: { batchSize: 2 } } }, /got "batchSize" \(at world\.settings of .*set it for single methods, in `extras`/],
    [{ world: { settings: { eta: 0.5 } } }, /got "eta" .*sampled alike/],
  ])("names a setting that a budget can't have: %j", async (change, message) => {
    const path = join(folder, "refused.json");
    await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(budgetFile, "utf8")) as object), ...change }));
    const { code, stderr } = await runInProcess("experiment", "status", "--budget", path);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });

  it("names what is wrong in a budget file", async () => {
    const path = join(folder, "wrong.json");
    await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(budgetFile, "utf8")) as object), seeds: 0 }));
    const { code, stderr } = await runInProcess("experiment", "status", "--budget", path);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: configuration: expected a number >= 1, got 0 \(at .*wrong\.json, setting seeds\); docs\/experiments\.md/);
  });
});
