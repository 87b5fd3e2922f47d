import { UsageError } from "@tastemaker/tensor";
import { csvCell } from "../data/csv-cell.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { runPaths } from "../storage/run-directory.ts";
import { flattenLine, type Leaf, numberOf } from "./flatten-line.ts";

/** More columns than this come from a broken file: every row would be as long. */
const maxColumns = 2000;

/**
 * A field as RFC 4180 wants it. Spreadsheets take a text that begins with `=`, `+`, `-`, `@` (also in full width), a tab or a line
 * break for a formula; an apostrophe in front makes them show it instead.
 */
export function csvField(leaf: Leaf | undefined): string {
  if (leaf === undefined) return "";
  const number = numberOf(leaf);
  if (number !== undefined) return String(number);
  return csvCell(String(leaf).replace(/^(?=[=+\-@＝＋－＠\t\r\n])/, "'"));
}

interface Table {
  readonly columns: ReadonlySet<string>;
  readonly rows: readonly ReadonlyMap<string, Leaf>[];
}

/** One row per place (iteration, or pictures seen in pretraining); what the timings say of it has columns under `timings.`. */
function joinLogs(metrics: readonly object[], timings: readonly object[]): Table {
  const columns = new Set<string>();
  const rows = new Map<Leaf | undefined, Map<string, Leaf>>();
  for (const [lines, prefix] of [[metrics, ""], [timings, "timings."]] as const) {
    for (const line of lines) {
      const leaves = flattenLine(line).map(([keys, leaf]) => [keys.join("."), leaf] as const);
      const [place, value] = leaves.find(([name]) => name === "iteration" || name === "seen") ?? [];
      if (place === undefined) continue;
      const row = rows.get(value) ?? new Map<string, Leaf>();
      rows.set(value, row);
      for (const [name, leaf] of leaves) {
        const column = name === place ? name : prefix + name;
        row.set(column, leaf);
        columns.add(column);
      }
    }
  }
  return { columns, rows: [...rows.values()] };
}

/**
 * Reads a run's logs as one table (RFC 4180, UTF-8): a row per iteration, a column per value with nested keys joined by dots (`rewards.aesthetic`), an empty
 * field where a row lacks the value. The run may still be going on.
 * @throws UsageError `run-damaged`
 */
export async function readMetricsCsv(root: string): Promise<{ readonly text: string; readonly rows: number }> {
  const paths = runPaths(root);
  const { columns, rows } = joinLogs(await readJsonLines(paths.metrics), await readJsonLines(paths.timings));
  if (columns.size > maxColumns) throw new UsageError("run-damaged", `metrics: expected at most ${maxColumns} different values, got ${columns.size} (at ${paths.metrics})`, "restore the file from a copy");
  if (rows.length === 0) return { text: "", rows: 0 };
  const lines = [[...columns].map(csvField), ...rows.map((row) => [...columns].map((name) => csvField(row.get(name))))];
  return { text: lines.map((line) => `${line.join(",")}\r\n`).join(""), rows: rows.length };
}
