import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { ExportOptions } from "../cli/commands/export.ts";
import { adapterFileName } from "../models/adapter.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { listCheckpoints, verifyCheckpoint } from "../storage/checkpoint.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { readRunRecord, runPaths } from "../storage/run-directory.ts";

/** `tastemaker export RUN`: a checkpoint's adapter, which already is what diffusers reads (alpha/rank folded into B). */
export async function runExport(options: ExportOptions, { output }: CommandContext): Promise<void> {
  await readRunRecord(options.run);
  const { complete } = await listCheckpoints(runPaths(options.run).checkpoints);
  const checkpoint = options.step === undefined ? complete.at(-1) : complete.find(({ step }) => step === options.step);
  if (checkpoint === undefined) {
    const found = complete.map(({ step }) => step).join(", ");
    throw new UsageError("checkpoint-missing", `export: expected a checkpoint${options.step === undefined ? "" : ` of step ${options.step}`}, got ${found === "" ? "none" : found} (at ${options.run})`, found === "" ? "`tastemaker resume` continues the run" : "choose one of these with --step");
  }
  await verifyCheckpoint(checkpoint);
  const out = options.out ?? options.run;
  const isFolder = !out.endsWith(".safetensors") || (existsSync(out) && statSync(out).isDirectory());
  const file = resolve(isFolder ? join(out, adapterFileName) : out);
  await ensureFolder(dirname(file));
  await writeFileAtomic(file, await readFile(join(checkpoint.path, adapterFileName)));
  output.print(file);
  output.result({ file, step: checkpoint.step });
}
