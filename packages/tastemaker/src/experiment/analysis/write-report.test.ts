import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { answersCsv, parseAnswers } from "../../study/answers.ts";
import { baseOf, type Method, methods } from "../run-record.ts";
import { syntheticBase, syntheticRun } from "../testing/synthetic-records.ts";
import { markdownTable, plusMinus, shareText, signedPlusMinus, withInterval } from "./markdown.ts";
import { makeReport, writeReport } from "./write-report.ts";

const folder = await mkdtemp(join(tmpdir(), "report-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("Markdown", () => {
  it("aligns columns in the source and keeps bars and line ends inside cells", () => {
    expect(markdownTable(["name", "value"], [["a|b", "1"], ["long\nname", "−22.5"]])).toBe("| name      | value |\n|-----------|------:|\n| a\\|b      |     1 |\n| long name | −22.5 |\n");
  });

  it("shows as many digits as the interval justifies", () => {
    const estimate = { mean: 0.71234, standardError: 0.01, low: 0.69, high: 0.734 };
    expect([plusMinus(estimate), signedPlusMinus(estimate), withInterval(estimate), shareText(estimate)]).toEqual(["0.712 ± 0.022", "+0.712 ± 0.022", "0.712 (0.690 … 0.734)", "71.2 % (69.0 … 73.4)"]);
    expect(withInterval({ mean: 3, standardError: null, low: 1, high: Number.POSITIVE_INFINITY })).toBe("3 (1 … ∞)");
    expect([withInterval(null), plusMinus({ ...estimate, low: null, high: null })]).toEqual(["–", "0.7123"]);
  });
});

describe("the report", () => {
  const base = syntheticBase(60);
  const records = (["pick-score", "aesthetic"] as const).flatMap((reward) =>
    methods.flatMap((method: Method) => {
      const isSwept = method.startsWith("rocm") && method !== "rocm-none";
      return (isSwept ? [1, 3, "auto" as const] : [null]).flatMap((beta) =>
        [1, 2].map((seed) => syntheticRun(base, { reward, method, beta, seed, seedSpread: 0.05, part: beta === "auto" ? "auto" : beta === null ? "main" : "sweep", secondsPerIteration: baseOf(method) === "emoji" ? 1 : 5, effect: (metric) => (metric === reward ? 1 : isSwept ? 0.5 : 0) })),
      );
    }),
  );

  it("has every table with n, seeds, machine, commit and command, and the same numbers as data", async () => {
    const out = join(folder, "full");
    const analysis = await writeReport(records, base, out, { budget: "quick", seed: 1, resamples: 100, figures: [{ path: "figures/figure-5.svg", title: "Metric against training time", only: "fig5" }] });
    expect((await readdir(join(out, "tables"))).sort()).toEqual(["claims.md", "matched-reward.md", "table-1-aesthetic-equal-evaluations.md", "table-1-aesthetic.md", "table-1-pick-score-equal-evaluations.md", "table-1-pick-score.md", "table-2-early-stopping.md", "table-2.md", "table-3.md", "table-4.md", "time-to-quality.md", "user-study.md"]);
    for (const name of await readdir(join(out, "tables"))) {
      const text = await readFile(join(out, "tables", name), "utf8");
      expect(text).not.toMatch(/NaN|undefined|Infinity|\[object/);
      for (const part of ["60 held-out prompts", "seeds 1, 2", "test processor", "0123456789abcdef", "`tastemaker experiment ", "--budget quick`"]) expect(text, name).toContain(part);
      for (const table of text.split("\n\n").filter((block) => block.startsWith("|"))) expect(new Set(table.trimEnd().split("\n").map((line) => [...line].length)).size, `${name} is aligned`).toBe(1);
    }
    const data = JSON.parse(await readFile(join(out, "data", "table-1.json"), "utf8")) as { reward: string; rows: { method: string; cells: Record<string, { score: { mean: number } }> }[] }[];
    const row = data[0]!.rows.find(({ method }) => method === "rlcm")!;
    expect(row.cells["gold"]!.score.mean).toBeCloseTo(analysis.methods[0]!.rows.find(({ method }) => method === "rlcm")!.cells["gold"]!.score.mean, 4);
    const readme = await readFile(join(out, "README.md"), "utf8");
    expect(readme).toContain("![Metric against training time](figures/figure-5.svg)");
    for (const { claim } of analysis.claims) expect(readme).toContain(claim);
    expect(parseAnswers(answersCsv(analysis.studies[1]!.answers), "study.csv")).toEqual(analysis.studies[1]!.answers);
  });

  it("is the same bytes again, whatever the order of records", async () => {
    const options = { budget: "quick", seed: 1, resamples: 100 };
    const few = records.filter(({ spec }) => spec.reward === "aesthetic");
    await writeReport(few, base, join(folder, "one"), options);
    await writeReport([...few].reverse(), base, join(folder, "two"), options);
    for (const name of ["README.md", ...(await readdir(join(folder, "one", "data"))).map((file) => `data/${file}`)]) expect(await readFile(join(folder, "two", name), "utf8"), name).toBe(await readFile(join(folder, "one", name), "utf8"));
  });

  it("says which trainings broke off", async () => {
    const broken = records.map((record) => (record.spec.method === "ddpo" && record.spec.seed === 2 ? { ...record, final: null } : record));
    const { files } = await makeReport(broken, base, { budget: "quick", seed: 1, resamples: 20 });
    expect(files["tables/table-1-aesthetic.md"]).toContain("missing: main/aesthetic/ddpo/seed-2.");
    expect(files["tables/table-1-aesthetic.md"]).toMatch(/\| DDPO /);
  });

  it("can be written from no runs at all, and from a single seed", async () => {
    await writeReport([], base, join(folder, "none"), { budget: "quick", seed: 1, resamples: 50 });
    expect(await readFile(join(folder, "none", "README.md"), "utf8")).toContain("runs are missing");
    const out = join(folder, "single");
    await writeReport(records.filter(({ spec }) => spec.seed === 1 && spec.method !== "ddpo"), base, out, { budget: "quick", seed: 1, resamples: 50 });
    expect(await readFile(join(out, "README.md"), "utf8")).not.toMatch(/NaN|undefined|\[object/);
  });
});
