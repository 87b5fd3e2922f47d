import { mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { startScript, withTemporaryFolder } from "../testing/child.ts";
import { readJsonLines } from "./append-log.ts";
import { describeEnvironment } from "./environment.ts";
import { findCheckpoint, findLatestCheckpoint, readRunRecord, RunDirectory, type RunRecord } from "./run-directory.ts";

const countingRun = fileURLToPath(new URL("testing/counting-run.ts", import.meta.url));

async function record(): Promise<Omit<RunRecord, "format">> {
  return { kind: "test", createdAt: "2026-01-01T00:00:00.000Z", config: { a: 1 }, environment: await describeEnvironment(1), inputs: {} };
}

async function failure(promise: Promise<unknown>): Promise<{ code?: string; message: string }> {
  return promise.then(
    () => ({ message: "did not fail" }),
    (error: unknown) => error as { code?: string; message: string },
  );
}

describe("run directory", () => {
  it("lays out run.json, logs, samples and checkpoints and explains itself", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      const run = await RunDirectory.create(root, await record());
      await run.appendMetrics({ iteration: 1, reward: Number.NaN });
      await run.checkpoint(1, (path) => writeFile(join(path, "adapter.bin"), "abc"), { keep: 3 });
      await run.writeFile("samples/held-out/0.png", "png");
      await run.close();
      expect((await readdir(root)).sort()).toEqual(["checkpoints", "metrics.jsonl", "run.json", "samples", "timings.jsonl"]);
      const saved = await readRunRecord(root);
      expect(saved.environment.node).toBe(process.versions.node);
      expect(saved.environment.onnxruntime).toMatch(/^\d+\.\d+\.\d+/);
      expect(await readJsonLines(join(root, "metrics.jsonl"))).toEqual([{ iteration: 1, reward: "NaN" }]);
      const manifest = JSON.parse(await readFile(join(root, "checkpoints/step-000001/checkpoint.json"), "utf8")) as Record<string, unknown>;
      expect(manifest).toMatchObject({
        step: 1,
        metrics: { lines: 1 },
        files: { "adapter.bin": { sizeBytes: 3, sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" } },
      });
    }));

  it("refuses a folder that holds a run, other files, or a living process", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      const run = await RunDirectory.create(root, await record());
      expect(await failure(RunDirectory.open(root))).toMatchObject({ code: "run-locked", message: expect.stringContaining(`process ${process.pid}`) as string });
      await run.close();
      expect(await failure(RunDirectory.create(root, await record()))).toMatchObject({ code: "run-exists", message: expect.stringContaining("tastemaker resume") as string });
      await writeFile(join(folder, "holiday.jpg"), "");
      expect(await failure(RunDirectory.create(folder, await record()))).toMatchObject({ code: "folder-not-empty", message: expect.stringContaining("holiday.jpg") as string });
      expect(await failure(RunDirectory.open(join(folder, "nowhere")))).toMatchObject({ code: "run-missing" });
      await writeFile(join(folder, "file"), "");
      expect(await failure(RunDirectory.create(join(folder, "file"), await record()))).toMatchObject({ code: "path-missing" });
      expect(await failure(RunDirectory.create(join(folder, "file/under"), await record()))).toMatchObject({ code: "path-missing" });
      if (process.platform === "linux") expect(await failure(RunDirectory.create("/proc/nowhere/run", await record()))).toMatchObject({ name: "UsageError" });
    }));

  it("takes over the lock of a dead process and of a reused pid", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      await (await RunDirectory.create(root, await record())).close();
      const { hostname } = await import("node:os");
      for (const owner of [
        { pid: 2 ** 22 + 1, host: hostname(), startedAt: "then" },
        { pid: process.pid, processStart: "1", host: hostname(), startedAt: "then" },
      ]) {
        await writeFile(join(root, "lock"), JSON.stringify(owner));
        await (await RunDirectory.open(root)).close();
      }
      await writeFile(join(root, "lock"), JSON.stringify({ pid: 1, host: "another-machine", startedAt: "then" }));
      expect(await failure(RunDirectory.open(root))).toMatchObject({ code: "run-locked", message: expect.stringContaining("another-machine") as string });
    }));

  it("gives a contested stale lock to exactly one of many processes", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      await (await RunDirectory.create(root, await record())).close();
      await writeFile(join(root, "lock"), "torn");
      const opened = await Promise.allSettled(Array.from({ length: 8 }, () => RunDirectory.open(root)));
      const winners = opened.filter((result) => result.status === "fulfilled");
      expect(winners).toHaveLength(1);
      await winners[0]!.value.close();
    }));

  it("continues from the newest complete checkpoint, ignoring damaged and half-written ones", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      const run = await RunDirectory.create(root, await record());
      for (const step of [1, 2, 3]) {
        await run.appendMetrics({ iteration: step });
        await run.checkpoint(step, (path) => writeFile(join(path, "state"), `state ${step}`), { keep: 9 });
      }
      await run.appendMetrics({ iteration: 4 });
      await run.close();
      await truncate(join(root, "checkpoints/step-000003/state"), 2);
      await mkdir(join(root, "checkpoints/.step-000004.0123456789ab.tmp"));
      const again = await RunDirectory.open(root);
      expect(again.latest?.step).toBe(2);
      expect(again.warnings).toEqual([expect.stringContaining("state has 2 bytes instead of 7")]);
      expect(await readJsonLines(join(root, "metrics.jsonl"))).toEqual([{ iteration: 1 }, { iteration: 2 }]);
      await again.checkpoint(3, (path) => writeFile(join(path, "state"), "state 3"), { keep: 9 });
      await again.close();
      expect((await findLatestCheckpoint(root))?.step).toBe(3);
      expect(await readdir(join(root, "checkpoints"))).toEqual(["step-000001", "step-000002", "step-000003"]);
      await writeFile(join(root, "checkpoints/step-000003/state"), "stale 3");
      expect(await failure(RunDirectory.open(root))).toMatchObject({ code: "checkpoint-damaged", message: expect.stringContaining("step-000003") as string });
      await rm(join(root, "checkpoints/step-000003"), { recursive: true });
      await truncate(join(root, "metrics.jsonl"), 3);
      expect(await failure(RunDirectory.open(root))).toMatchObject({ code: "run-damaged" });
    }));

  it("keeps the last checkpoints and the best one", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      const run = await RunDirectory.create(root, await record());
      for (const [index, best] of [1, 2, 2, 2, 2].entries()) {
        await run.checkpoint(index + 1, (path) => writeFile(join(path, "state"), ""), { keep: 2, best });
      }
      await run.close();
      expect(await readdir(join(root, "checkpoints"))).toEqual(["step-000002", "step-000004", "step-000005"]);
      expect((await findCheckpoint(root, "best"))?.step).toBe(2);
      expect((await findCheckpoint(root, "last"))?.step).toBe(5);
      expect((await findCheckpoint(root, 4))?.step).toBe(4);
      expect(await failure(findCheckpoint(root, 3))).toMatchObject({ code: "checkpoint-missing", message: expect.stringContaining("expected one of step 3, got those of step 2, 4, 5") as string });
    }));

  it("keeps the last checkpoint when writing the next one fails", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      const run = await RunDirectory.create(root, await record());
      await run.checkpoint(1, (path) => writeFile(join(path, "state"), "good"), { keep: 1 });
      const failed = run.checkpoint(2, () => Promise.reject(new Error("NaN in the adapter")), { keep: 1 });
      expect(await failure(failed)).toMatchObject({ message: "NaN in the adapter" });
      expect(await readdir(join(root, "checkpoints"))).toEqual(["step-000001"]);
      await run.close();
    }));

  it("ends with the same metrics after SIGKILL and resume as without interruption", () =>
    withTemporaryFolder(async (folder) => {
      const whole = await startScript(countingRun, join(folder, "whole"), "create", "20", "0").finished;
      expect(whole).toMatchObject({ code: 0, stderr: "" });
      const broken = join(folder, "broken");
      for (const [mode, until] of [
        ["create", "step 5;"],
        ["resume", "step 10;"],
        ["resume", "step 13;"],
      ] as const) {
        const started = startScript(countingRun, broken, mode, "20", "15");
        await started.printed(until);
        started.child.kill("SIGKILL");
        expect((await started.finished).signal).toBe("SIGKILL");
      }
      expect(await startScript(countingRun, broken, "resume", "20", "0").finished).toMatchObject({ code: 0, stderr: "" });
      expect(await readFile(join(broken, "metrics.jsonl"))).toEqual(await readFile(join(folder, "whole/metrics.jsonl")));
      expect(await readJsonLines(join(broken, "timings.jsonl"))).toHaveLength(20);
    }));
});
