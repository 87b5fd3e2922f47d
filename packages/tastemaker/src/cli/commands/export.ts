import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface ExportOptions {
  readonly run: string;
  /** File or folder; a folder receives `pytorch_lora_weights.safetensors`. */
  readonly out?: string;
  /** Checkpoint to export; undefined: the newest. */
  readonly step?: number;
  /** CSV file for the metrics; the adapter is then written only when `out` or `step` is given. */
  readonly metrics?: string;
}

/** `tastemaker export RUN`: the adapter as diffusers reads it, or the metrics as a table. */
export function register(program: Command, engine: Engine<ExportOptions>): void {
  const command = program
    .command("export")
    .description("Write a run's adapter as pytorch_lora_weights.safetensors, which diffusers loads, or its metrics as CSV.")
    .argument("<run>", "run directory")
    .option("--out <path>", "file or folder (default: the run directory)")
    .option("--step <n>", "export this checkpoint instead of the newest", wholeNumber(0))
    .option("--metrics <file>", "write the metrics to this CSV file (alone, unless --out or --step is given)")
    .action((run: string, options: Omit<ExportOptions, "run">, self: Command) => runEngine(self, engine, { ...options, run }));
  addExamples(command, [
    ["the adapter", "tastemaker export runs/first --out adapters/first"],
    ["every iteration's numbers for a spreadsheet", "tastemaker export runs/first --metrics first.csv"],
  ]);
}
