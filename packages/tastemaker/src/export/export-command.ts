import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { ExportOptions } from "../cli/commands/export.ts";
import { readMetricsCsv } from "../logs/metrics-csv.ts";
import { adapterFileName } from "../models/adapter.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { verifyCheckpoint } from "../storage/checkpoint.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { findCheckpoint, readRunRecord } from "../storage/run-directory.ts";

/** `tastemaker export RUN`: the adapter, or with `--metrics` the table of metrics; both when `--out` or `--checkpoint` is given too. */
export async function runExport(options: ExportOptions, { output }: CommandContext): Promise<void> {
  await readRunRecord(options.run);
  const { metrics } = options;
  const isAdapterWanted = metrics === undefined || options.out !== undefined || options.checkpoint !== undefined;
  const adapter = isAdapterWanted ? await exportAdapter(options) : undefined;
  if (adapter !== undefined) output.print(adapter.file);
  const table = metrics === undefined ? undefined : await exportMetrics(options.run, resolve(metrics));
  if (table !== undefined) output.print(table.file);
  output.result({ ...adapter, ...(table === undefined ? {} : { metrics: table }) });
}

async function exportMetrics(run: string, file: string): Promise<{ readonly file: string; readonly rows: number }> {
  const { text, rows } = await readMetricsCsv(run);
  await ensureFolder(dirname(file));
  await writeFileAtomic(file, text);
  return { file, rows };
}

/** A checkpoint's adapter, which already is what diffusers reads (alpha/rank folded into B). */
async function exportAdapter(options: ExportOptions): Promise<{ readonly file: string; readonly step: number }> {
  const checkpoint = await findCheckpoint(options.run, options.checkpoint ?? "last");
  if (checkpoint === undefined) throw new UsageError("checkpoint-missing", `export: expected a checkpoint, got none (at ${options.run})`, "`tastemaker resume` continues the run");
  await verifyCheckpoint(checkpoint);
  const out = options.out ?? options.run;
  const isFolder = !out.endsWith(".safetensors") || (existsSync(out) && statSync(out).isDirectory());
  const file = resolve(isFolder ? join(out, adapterFileName) : out);
  await ensureFolder(dirname(file));
  await writeFileAtomic(file, await readFile(join(checkpoint.path, adapterFileName)));
  return { file, step: checkpoint.step };
}
