import { describe, expect, it } from "vitest";
import { answersCsv, parseAnswers } from "../../study/answers.ts";
import { baseOf, type Method, methods, type RunRecord } from "../run-record.ts";
import { syntheticBase, syntheticRun } from "../testing/synthetic-records.ts";
import { markdownTable, plusMinus, shareText, signedPlusMinus, withInterval } from "./markdown.ts";
import { analyseRecords, type Analysis } from "./analyse-records.ts";
import { reportFigures } from "../report-figures.ts";
import { reportFiles } from "./write-report.ts";

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

  const figures = [{ path: "figures/figure-5.svg", title: "Metric against training time", only: "fig5" }];
  async function reportOf(runs: readonly RunRecord[], resamples: number): Promise<{ analysis: Analysis; files: Record<string, string> }> {
    const analysis = await analyseRecords(runs, base, { seed: 1, resamples });
    return { analysis, files: reportFiles(runs, base, analysis, { budget: "quick", argument: "quick", figures }) };
  }

  it("has every table with n, seeds, machine, commit and command, and the same numbers as data", async () => {
    const { analysis, files } = await reportOf(records, 100);
    const tables = Object.entries(files).filter(([name]) => name.startsWith("tables/"));
    expect(tables.map(([name]) => name.slice("tables/".length)).sort()).toEqual(["claims.md", "matched-reward.md", "table-1-aesthetic-equal-evaluations.md", "table-1-aesthetic.md", "table-1-pick-score-equal-evaluations.md", "table-1-pick-score.md", "table-1.md", "table-2-early-stopping.md", "table-2.md", "table-3.md", "table-4.md", "time-to-quality.md", "user-study.md"]);
    for (const [name, text] of tables) {
      expect(text).not.toMatch(/NaN|undefined|Infinity|\[object/);
      for (const part of ["60 held-out prompts", "seeds 1, 2", "test processor", "0123456789abcdef", "`tastemaker experiment ", "--budget quick`"]) expect(text, name).toContain(part);
      for (const table of text.split("\n\n").filter((block) => block.startsWith("|"))) expect(new Set(table.trimEnd().split("\n").map((line) => [...line].length)).size, `${name} is aligned`).toBe(1);
    }
    const data = JSON.parse(files["data/table-1.json"]!) as { reward: string; rows: { method: string; cells: Record<string, { score: { mean: number } }> }[] }[];
    const row = data[0]!.rows.find(({ method }) => method === "rlcm")!;
    expect(row.cells["gold"]!.score.mean).toBeCloseTo(analysis.methods[0]!.rows.find(({ method }) => method === "rlcm")!.cells["gold"]!.score.mean, 4);
    // At a glance: the same numbers as in the whole tables.
    const glance = files["tables/table-1.md"]!.split("\n").find((line) => line.startsWith("| RLCM"))!;
    const gains = files["tables/table-1-aesthetic.md"]!.split("\n").filter((line) => line.startsWith("| RLCM"))[1]!;
    const goldGain = gains.split("|").map((cell) => cell.trim()).at(-3)!;
    expect(glance.replaceAll("*", "").split("|").map((cell) => cell.trim())).toContain(goldGain);
    expect(files["README.md"]).toContain("![Metric against training time](figures/figure-5.svg)");
    for (const { claim } of analysis.claims) expect(files["README.md"]).toContain(claim);
    expect(parseAnswers(answersCsv(analysis.studies[1]!.answers), "study.csv")).toEqual(analysis.studies[1]!.answers);
  });

  it("has every figure that the records allow, none of them with a hole", async () => {
    const { analysis } = await reportOf(records, 50);
    const drawn = reportFigures(analysis, 64);
    expect(drawn.map(({ name }) => name)).toEqual(["figure-4", "figure-4-divergences", "figure-5", "figure-5-trained", "figure-5-gold", "matched-reward", "figure-3"]);
    for (const { svg } of drawn) expect(svg).not.toMatch(/NaN|undefined|Infinity|\[object/);
    expect(reportFigures((await reportOf([], 20)).analysis, 64)).toEqual([]);
  });

  it("is the same bytes again, whatever the order of records", async () => {
    const few = records.filter(({ spec }) => spec.reward === "aesthetic");
    expect((await reportOf([...few].reverse(), 100)).files).toEqual((await reportOf(few, 100)).files);
  });

  it("is made where the diffusion model was not measured, because nothing tuned it", async () => {
    const own = records.filter(({ spec }) => baseOf(spec.method) === "emoji");
    const measured = { ...base, scores: { ...base.scores, "emoji-teacher": {} } };
    const analysis = await analyseRecords(own, measured, { seed: 1, resamples: 20 });
    expect(analysis.bases.map(({ model }) => model)).toEqual(["emoji"]);
    expect(analysis.methods.map(({ bases }) => bases.map(({ model }) => model))).toEqual([["emoji"], ["emoji"]]);
    for (const text of Object.values(reportFiles(own, measured, analysis, { budget: "quick", argument: "quick", figures }))) expect(text).not.toMatch(/NaN|undefined/);
  });

  it("says which trainings broke off", async () => {
    const broken = records.map((record) => (record.spec.method === "ddpo" && record.spec.seed === 2 ? { ...record, final: null } : record));
    const { files } = await reportOf(broken, 20);
    expect(files["tables/table-1-aesthetic.md"]).toContain("missing: main/aesthetic/ddpo/seed-2.");
    expect(files["tables/table-1-aesthetic.md"]).toMatch(/\| DDPO /);
  });

  it("can be written from no runs at all, and from a single seed", async () => {
    const { analysis } = await reportOf([], 50);
    for (const text of Object.values(reportFiles([], base, analysis, { budget: "mine", argument: "my budgets/mine.json", figures: [] }))) {
      for (const [command] of text.matchAll(/tastemaker experiment [^`]*/g)) expect(command).toMatch(/--budget 'my budgets\/mine\.json'$/);
    }
    expect((await reportOf([], 50)).files["README.md"]).toContain("Without runs here:\n\n- Regularised ROCM outperforms");
    expect((await reportOf(records.filter(({ spec }) => spec.seed === 1 && spec.method !== "ddpo"), 50)).files["README.md"]).not.toMatch(/NaN|undefined|\[object/);
  });
});
