import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { describeEnvironment } from "../storage/environment.ts";
import { RunDirectory } from "../storage/run-directory.ts";
import { runTastemaker, withTemporaryFolder } from "../testing/child.ts";
import { csvField, readMetricsCsv } from "./metrics-csv.ts";

async function createRun(root: string, metrics: readonly object[], timings: readonly object[]): Promise<void> {
  const run = await RunDirectory.create(root, { kind: "test", createdAt: "2026-01-01T00:00:00.000Z", config: {}, environment: await describeEnvironment(1), inputs: {} });
  for (const line of metrics) await run.appendMetrics(line);
  for (const line of timings) await run.appendTimings(line);
  await run.close();
}

describe("metrics as CSV", () => {
  it("keep every digit of a number and let no text become a formula", () => {
    const rows: [string, Parameters<typeof csvField>[0]][] = [
      ["", undefined],
      ["-0.1", -0.1],
      ["5e-324", 5e-324],
      ["NaN", "NaN"],
      ["-Infinity", "-Infinity"],
      ["true", true],
      ["plain", "plain"],
      ["'=1+1", "=1+1"],
      ["'+1", "+1"],
      ["'-1", "-1"],
      ["'@SUM(A1)", "@SUM(A1)"],
      ["'＝1", "＝1"],
      ["'\t=1", "\t=1"],
      [`"'=HYPERLINK(""http://x"",""y"")"`, '=HYPERLINK("http://x","y")'],
      ['"a,b"', "a,b"],
      ['"a ""b"""', 'a "b"'],
      ['"a\nb"', "a\nb"],
      [`"'\rb"`, "\rb"],
    ];
    for (const [text, value] of rows) expect(csvField(value)).toBe(text);
  });

  it("flatten nested keys and join the timings of the same iteration", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      await createRun(
        root,
        [
          { iteration: 1, reward: 0.1, rewards: { aesthetic: 1 / 3, "=x,y": 2 }, heldOutBefore: { judge: { mean: 1, standardError: 0 } } },
          { iteration: 2, reward: Number.NaN, rewards: { aesthetic: -1e-7, "=x,y": 3 }, heldOut: { judge: { mean: 2, standardError: 0.5 } }, list: [1, 2] },
        ],
        [{ iteration: 1, seconds: 0.25 }],
      );
      expect(await readMetricsCsv(root)).toEqual({
        rows: 2,
        text:
          'iteration,reward,rewards.aesthetic,"rewards.=x,y",heldOutBefore.judge.mean,heldOutBefore.judge.standardError,heldOut.judge.mean,heldOut.judge.standardError,timings.seconds\r\n' +
          "1,0.1,0.3333333333333333,2,1,0,,,0.25\r\n" +
          "2,NaN,-1e-7,3,,,2,0.5,\r\n",
      });
    }));

  it("come from the command line, for a pretraining run without a checkpoint too", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      await createRun(root, [{ step: 1, seen: 8, loss: 0.5 }, { step: 2, seen: 16, loss: 0.25 }], [{ seen: 16, seconds: 3, psnr: 20 }]);
      const file = join(folder, "tables/run.csv");
      const end = await runTastemaker("export", root, "--metrics", file, "--json");
      expect(end.code, end.stderr).toBe(0);
      expect(JSON.parse(end.stdout)).toEqual({ metrics: { file, rows: 2 } });
      expect(await readFile(file, "utf8")).toBe("step,seen,loss,timings.seconds,timings.psnr\r\n1,8,0.5,,\r\n2,16,0.25,3,20\r\n");
      const both = await runTastemaker("export", root, "--metrics", file, "--checkpoint", "3");
      expect(both).toMatchObject({ code: 2, stderr: expect.stringContaining("export: expected a checkpoint, got none") as string });
    }));

  it("refuse logs that are no logs", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "run");
      await createRun(root, [], []);
      expect(await readMetricsCsv(root)).toEqual({ rows: 0, text: "" });
      await writeFile(join(root, "metrics.jsonl"), `${JSON.stringify({ iteration: 1, ...Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`k${i}`, i])) })}\n`);
      await expect(readMetricsCsv(root)).rejects.toMatchObject({ code: "run-damaged" });
      await writeFile(join(root, "metrics.jsonl"), `{"iteration":1,"a":${'{"a":'.repeat(5000)}1${"}".repeat(5000)}}\n`);
      expect((await readMetricsCsv(root)).text).toBe("iteration\r\n1\r\n");
    }));
});
