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
}

/** `tastemaker export RUN`: the adapter as diffusers reads it. */
export function register(program: Command, engine: Engine<ExportOptions>): void {
  const command = program
    .command("export")
    .description("Write a run's adapter as pytorch_lora_weights.safetensors, which diffusers loads.")
    .argument("<run>", "run directory")
    .option("--out <path>", "file or folder (default: the run directory)")
    .option("--step <n>", "export this checkpoint instead of the newest", wholeNumber(0))
    .action((run: string, options: Omit<ExportOptions, "run">, self: Command) => runEngine(self, engine, { ...options, run }));
  addExamples(command, ["tastemaker export runs/first --out adapters/first"]);
}
