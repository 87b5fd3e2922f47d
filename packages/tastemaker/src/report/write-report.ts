import { basename, resolve } from "node:path";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { runPaths } from "../storage/run-directory.ts";
import { readReportData } from "./report-data.ts";
import { reportPage } from "./report-page.ts";

/**
 * Writes `report.html` of a run directory from its `run.json`, `metrics.jsonl` and `evaluation.json`, and returns the page's path.
 * Works at any time, also while the run goes on.
 * @throws UsageError `run-missing`, `run-damaged`, `disk-full`, `no-permission`
 */
export async function writeReport(root: string): Promise<string> {
  const folder = resolve(root);
  const { report } = runPaths(folder);
  await writeFileAtomic(report, reportPage(await readReportData(folder), basename(folder)));
  return report;
}
