import type { Command } from "commander";
import type { CheckpointChoice } from "../../storage/run-directory.ts";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { checkpointChoice } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface ExportOptions {
  readonly run: string;
  /** File or folder; a folder receives `pytorch_lora_weights.safetensors`. */
  readonly out?: string;
  /** Undefined means the newest. */
  readonly checkpoint?: CheckpointChoice;
  /** CSV file for the metrics; the adapter is then written only when `out` or `checkpoint` is given. */
  readonly metrics?: string;
}

/** `tastemaker export RUN`: the adapter as diffusers reads it, or the metrics as a table. */
export function register(program: Command, engine: Engine<ExportOptions>): void {
  const command = program
    .command("export")
    .description("Write a run's adapter as pytorch_lora_weights.safetensors, which diffusers loads, or its metrics as CSV.")
    .argument("<run>", "run directory")
    .option("--out <path>", "file or folder (default: the run directory)")
    .option("--checkpoint <which>", "last, best (by the run's own evaluations), or the number of a checkpoint (default: last)", checkpointChoice)
    .option("--metrics <file>", "write the metrics to this CSV file (alone, unless --out or --checkpoint is given)")
    .action((run: string, options: Omit<ExportOptions, "run">, self: Command) => runEngine(self, engine, { ...options, run }));
  addExamples(command, [
    ["the adapter", "tastemaker export runs/first --out adapters/first"],
    ["the best checkpoint instead of the last", "tastemaker export runs/first --checkpoint best --out best.safetensors"],
    ["every iteration's numbers for a spreadsheet", "tastemaker export runs/first --metrics first.csv"],
  ]);
}
