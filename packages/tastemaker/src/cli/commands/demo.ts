import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { realNumber, wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface DemoOptions {
  readonly out?: string;
  readonly iterations: number;
  /** Training stops after this time and is evaluated as far as it got. */
  readonly minutes: number;
  readonly prompts: number;
  readonly seed: number;
  readonly threads: number;
}

/** `tastemaker demo` (hidden): what `npm start` runs. */
export function register(program: Command, engine: Engine<DemoOptions>): void {
  const command = program
    .command("demo", { hidden: true })
    .description("Tune the embedded model on the embedded rewards and show before and after.")
    .option("--out <folder>", "run directory to create")
    .option("--iterations <n>", "updates of the adapter", wholeNumber(1), 200)
    .option("--minutes <n>", "stop training after this time", realNumber(0.01), 6)
    .option("--prompts <n>", "held-out prompts of the comparison", wholeNumber(2), 128)
    .option("--seed <n>", "equal seeds give equal runs", wholeNumber(0), 0)
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
    .action((options: DemoOptions, self: Command) => runEngine(self, engine, options));
  addExamples(command, ["tastemaker demo --iterations 60"]);
}
