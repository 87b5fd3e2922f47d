import { type Command, Option } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface ReplayOptions {
  readonly caseFolder: string;
  readonly out: string;
  readonly backend: "onnxruntime" | "reference";
  readonly threads: number;
}

/** `tastemaker replay CASE --out FILE`: computes a recorded case again and writes every tensor it expects. */
export function register(program: Command, engine: Engine<ReplayOptions>): void {
  const command = program
    .command("replay")
    .description("Compute a recorded case again and write every tensor that it expects, to compare implementations.")
    .argument("<case>", "folder of the recorded case")
    .requiredOption("--out <file>", "safetensors file to write")
    .addOption(new Option("--backend <name>", "what does the arithmetic: onnxruntime in float32, or the slow float64 reference").choices(["onnxruntime", "reference"]).default("onnxruntime"))
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
    .action((caseFolder: string, options: Omit<ReplayOptions, "caseFolder">, self: Command) => runEngine(self, engine, { ...options, caseFolder }));
  addExamples(command, ["tastemaker replay cases/kl-8-steps --out result.safetensors", ["in float64", "tastemaker replay cases/kl-8-steps --backend reference --out exact.safetensors"]]);
}
