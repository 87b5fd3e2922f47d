import { join } from "node:path";
import { answersCsv } from "../../study/answers.ts";
import { writeFileAtomic } from "../../storage/atomic-file.ts";
import { ensureFolder } from "../../storage/ensure-folder.ts";
import type { BaseRecord, RunRecord } from "../run-record.ts";
import { type Analysis, type AnalysisOptions, analyseRecords, defaultBootstrap } from "./analyse-records.ts";
import { type RenderedTable, renderTables } from "./render-tables.ts";

export interface ReportOptions extends Partial<AnalysisOptions> {
  /** Budget of the runs, for the commands beside the tables. */
  readonly budget: string;
  /** Pictures that lie in the folder already or will, by their path in it: shown after the claims. */
  readonly figures?: readonly { readonly path: string; readonly title: string; readonly only: string }[];
  /** Folder for the simulated answers, one CSV per reward (about a megabyte each); not written without it. */
  readonly answers?: string;
}

/** Numbers of data files: six significant digits, more than any interval here has. */
function json(value: unknown): string {
  return `${JSON.stringify(value, (_, part: unknown) => (typeof part === "number" && Number.isFinite(part) ? Number(part.toPrecision(6)) : part), 1)}\n`;
}

/** Content of `data/*.json`, by name. */
export function reportData(analysis: Analysis): Readonly<Record<string, unknown>> {
  return {
    claims: analysis.claims,
    "table-1": analysis.methods,
    "table-1-equal-evaluations": analysis.equalEvaluations,
    "table-2": { choices: analysis.choices, ...analysis.beta },
    "table-3": { divergences: analysis.divergences, costs: analysis.costs },
    "table-4": analysis.bases,
    "figure-4": analysis.preference,
    "figure-5": analysis.curves,
    "matched-reward": analysis.matched,
    "time-to-quality": analysis.speed,
    "user-study": analysis.studies.map(({ reward, method, analysis: result }) => ({ reward, method, ...result })),
  };
}

const distinct = (values: readonly string[]): string => [...new Set(values)].sort().join("; ");

/** What holds for every table: how many runs, which machine, which commit. */
function provenance(records: readonly RunRecord[], base: BaseRecord): string {
  const environments = [...records, base].map(({ environment }) => environment);
  const seeds = [...new Set(records.map(({ spec }) => spec.seed))].sort((a, b) => a - b);
  const machine = distinct(environments.map(({ cpu, threads, platform }) => `${cpu}, ${threads} thread${threads === 1 ? "" : "s"}, ${platform}`));
  const versions = distinct(environments.map(({ tastemaker, onnxruntime, node }) => `tastemaker ${tastemaker}, onnxruntime ${onnxruntime}, Node ${node}`));
  return `${records.length} runs, seeds ${seeds.join(", ") || "none"}; ${base.prompts.length} held-out prompts. Machine: ${machine}. ${versions}. Commit ${distinct(environments.map(({ commit }) => commit ?? "unknown"))}.`;
}

function section({ title, text, note, only }: RenderedTable, budget: string, level: string): string {
  return `${level} ${title}\n\n${text}\n${note}\n\n\`tastemaker experiment paper --only ${only} --budget ${budget}\`\n`;
}

/**
 * Writes `tables/*.md`, `data/*.json` and `README.md` of the paper's experiments below `out`.
 *
 * @returns the analysis, for the figures
 * @throws UsageError `record-metric`, `record-prompts` for records that do not fit `base`; those of `writeFileAtomic`
 */
export async function writeReport(records: readonly RunRecord[], base: BaseRecord, out: string, { budget, figures = [], answers, ...options }: ReportOptions): Promise<Analysis> {
  const analysis = await analyseRecords(records, base, { ...defaultBootstrap, ...options });
  const tables = renderTables(analysis);
  const origin = provenance(records, base);
  for (const folder of ["tables", "data"]) await ensureFolder(join(out, folder));
  for (const table of tables) await writeFileAtomic(join(out, "tables", `${table.name}.md`), `${section(table, budget, "#")}\n${origin}\n`);
  for (const [name, value] of Object.entries(reportData(analysis))) await writeFileAtomic(join(out, "data", `${name}.json`), json(value));
  if (answers !== undefined) {
    await ensureFolder(answers);
    for (const study of analysis.studies) await writeFileAtomic(join(answers, `study-${study.reward}.csv`), answersCsv(study.answers));
  }
  const [claims, ...rest] = tables;
  const pictures = figures.map(({ path, title, only }) => `## ${title}\n\n![${title}](${path})\n\n\`tastemaker experiment paper --only ${only} --budget ${budget}\`\n`);
  const intro = `# The paper's experiments in the emoji world, budget \`${budget}\`\n\n${origin}\n\nMade from the records in \`runs/\` by \`tastemaker experiment report --budget ${budget}\`; all of it, training included, by \`tastemaker experiment paper --budget ${budget}\`. Intervals are of 95 % over seeds of training and prompts together (crossed bootstrap, Student's quantiles for few seeds); single tables lie in \`tables/\`, their numbers in \`data/\`.\n`;
  await writeFileAtomic(join(out, "README.md"), [intro, section(claims!, budget, "##"), ...pictures, ...rest.map((table) => section(table, budget, "##"))].join("\n"));
  return analysis;
}
