import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runInProcess } from "../testing/in-process.ts";
import { type Budget, budgets } from "./budget.ts";
import type { Calibration } from "./calibration.ts";
import { readRecord, readRunRecords } from "./files.ts";
import { type ExperimentPaths, experimentPaths } from "./paths.ts";
import { paperReport } from "./report.ts";
import type { BaseRecord } from "./run-record.ts";

const root = join(import.meta.dirname, "../../../..");
const resultsOf = (budget: Budget): ExperimentPaths => experimentPaths(budget, join(root, "results"), join(root, "runs", "paper"));
const read = (path: string): Promise<string> => readFile(join(root, "results", path), "utf8");
/** The first Markdown table of a text. */
const tableOf = (text: string): string => text.split("\n\n").find((block) => block.startsWith("|"))!;

describe.each([budgets.standard, budgets.race])("the results of $name in this repository", (budget) => {
  const paths = resultsOf(budget);

  it("are complete, and of the plan that this program makes", async () => {
    const { code, stdout, stderr } = await runInProcess("--json", "experiment", "status", "--budget", budget.name, "--out", join(root, "results"));
    expect(code, stderr).toBe(0);
    const { parts } = JSON.parse(stdout) as { parts: Record<string, { done: number; planned: number }> };
    for (const [part, { done, planned }] of Object.entries(parts)) expect(done, part).toBe(planned);
    expect(parts["main"]!.planned).toBeGreaterThan(0);
  });

  it("are what their records say, byte for byte", async () => {
    const [calibration, base, records] = await Promise.all([readRecord<Calibration>(paths.calibration, "tastemaker-experiment-calibration/1"), readRecord<BaseRecord>(paths.base, "tastemaker-experiment-base/1"), readRunRecords(paths.runs)]);
    const paper = await paperReport({ paths, budget, calibration: calibration!, base: base!, records });
    for (const [name, text] of Object.entries(paper!.texts)) expect(await readFile(join(paths.results, name), "utf8"), name).toBe(text);
  });
});

describe("the README", () => {
  it("has the tables of the results, and figures that are there", async () => {
    const readme = await readFile(join(root, "README.md"), "utf8");
    for (const name of ["standard/tables/table-1", "standard/tables/claims", "race/tables/time-to-quality"]) expect(readme).toContain(tableOf(await read(`${name}.md`)));
    const pictures = [...readme.matchAll(/\]\((results\/[^)]+)\)/g)].map(([, path]) => path!);
    expect(pictures).toEqual(expect.arrayContaining(["results/standard/figures/figure-4.png", "results/standard/figures/figure-5.png", "results/race/figures/figure-5.png"]));
    for (const path of pictures) expect(existsSync(join(root, path)), path).toBe(true);
  });
});
