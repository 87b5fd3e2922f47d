import type { BaseRecord, RunRecord } from "../run-record.ts";
import { shellLine } from "../run-command.ts";
import type { Analysis } from "./analyse-records.ts";
import { type RenderedTable, renderTables } from "./render-tables.ts";

export interface ReportOptions {
  /** Budget of the runs. */
  readonly budget: string;
  /** The same as `--budget` takes it, for the commands beside the tables. */
  readonly argument: string;
  /** Pictures that lie in the folder already or will, by their path in it: shown after the claims. */
  readonly figures: readonly { readonly path: string; readonly title: string; readonly only: string }[];
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

const commandOf = (only: string | null, argument: string): string => shellLine(["experiment", ...(only === null ? ["report"] : ["paper", "--only", only]), "--budget", argument]);

function section({ title, text, note, only }: RenderedTable, argument: string, level: string): string {
  return `${level} ${title}\n\n${text}\n${note}\n\n\`${commandOf(only, argument)}\`\n`;
}

/**
 * Tables, data and README of the paper's experiments: text by path below the results' folder (`tables/*.md`, `data/*.json`, `README.md`). The same records and options give the same text,
 * byte for byte.
 */
export function reportFiles(records: readonly RunRecord[], base: BaseRecord, analysis: Analysis, { budget, argument, figures }: ReportOptions): Record<string, string> {
  const tables = renderTables(analysis);
  const origin = provenance(records, base);
  const [claims, ...rest] = tables;
  const pictures = figures.map(({ path, title, only }) => `## ${title}\n\n![${title}](${path})\n\n\`${commandOf(only, argument)}\`\n`);
  const intro = `# The paper's experiments in the emoji world, budget \`${budget}\`\n\n${origin}\n\nMade from the records in \`runs/\` by \`${commandOf(null, argument)}\`; all of it, training included, by \`${shellLine(["experiment", "paper", "--budget", argument])}\`. Intervals are of 95 % over seeds of training and prompts together (crossed bootstrap, Student's quantiles for few seeds); where there is one seed they speak of prompts alone. Single tables lie in \`tables/\`, their numbers in \`data/\`.\n`;
  return {
    "README.md": [intro, section(claims!, argument, "##"), ...pictures, ...rest.map((table) => section(table, argument, "##"))].join("\n"),
    ...Object.fromEntries(tables.map((table) => [`tables/${table.name}.md`, `${section(table, argument, "#")}\n${origin}\n`])),
    ...Object.fromEntries(Object.entries(reportData(analysis)).map(([name, value]) => [`data/${name}.json`, json(value)])),
  };
}
