import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { normal } from "@tastemaker/tensor";
import { afterAll, describe, expect, it } from "vitest";
import { runInProcess } from "../testing/in-process.ts";
import { analyseStudy, type StudyAnalysis } from "./analyse-study.ts";
import { answersCsv, answersJsonl } from "./answers.ts";
import { paperStudy, simulateStudy } from "./simulate-study.ts";

const folder = await mkdtemp(join(tmpdir(), "study-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

const draw = (index: number, plus = 0): number[] => [...normal({ seed: 9, stream: "study-command", indices: [index] }, 30)].map((z) => z + plus);
const answers = simulateStudy(
  { methodA: "tuned \u001b[31m", methodB: "base", prompts: Array.from({ length: 30 }, (_, index) => `prompt ${index}`), a: { gold: draw(0, 2), appeal: draw(1, 2), alignment: draw(2) }, b: { gold: draw(3), appeal: draw(4), alignment: draw(5) }, picture: (method, prompt) => `${method}/${prompt}.png` },
  { ...paperStudy, seed: 1, annotators: 4 },
);

describe("tastemaker study analyse", () => {
  it("says the same of CSV and JSONL, for people and for machines", async () => {
    const [csv, jsonl] = [join(folder, "answers.csv"), join(folder, "answers.jsonl")];
    await writeFile(csv, answersCsv(answers));
    await writeFile(jsonl, answersJsonl(answers));
    const text = await runInProcess("study", "analyse", csv, "--resamples", "20");
    expect(text).toMatchObject({ code: 0, stderr: "" });
    expect(text.stdout).toMatch(/^tuned \\u001b\[31m against base: 30 pairs, 4 annotators/);
    expect(text.stdout).toMatch(/general preference +\d+\.\d % \(\d+\.\d … \d+\.\d\)/);
    expect(await runInProcess("study", "analyse", jsonl, "--resamples", "20")).toEqual(text);
    const json = await runInProcess("--json", "study", "analyse", csv, "--resamples", "20");
    const analysis = JSON.parse(json.stdout) as StudyAnalysis;
    expect(analysis).toEqual(JSON.parse(JSON.stringify(analyseStudy(answers, { seed: 0, resamples: 20 }))));
    expect(analysis.matches.find(({ question }) => question === "visual appeal")!.low).toBeGreaterThan(0.5);
  });

  it("refuses what is no study with one line", async () => {
    const path = join(folder, "bad.csv");
    await writeFile(path, "a,b\n1,2\n");
    expect(await runInProcess("study", "analyse", path)).toMatchObject({ code: 2, stderr: expect.stringMatching(/^error: CSV: expected the columns pair/) as string });
    await writeFile(path, Uint8Array.of(0xff, 0xfe, 0x00));
    expect(await runInProcess("study", "analyse", path)).toMatchObject({ code: 2, stderr: expect.stringMatching(/expected UTF-8/) as string });
    expect(await runInProcess("study", "analyse", join(folder, "none.csv"))).toMatchObject({ code: 2, stderr: expect.stringMatching(/none\.csv/) as string });
  });
});
