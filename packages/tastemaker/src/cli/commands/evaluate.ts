import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { runEngine } from "../run-engine.ts";

export interface EvaluateOptions {
  readonly run: string;
}

/** `tastemaker evaluate RUN` (hidden: training evaluates by itself): compares base and tuned model again. */
export function register(program: Command, engine: Engine<EvaluateOptions>): void {
  const command = program
    .command("evaluate", { hidden: true })
    .description("Compare the base and the tuned model of a run on its held-out prompts again.")
    .argument("<run>", "run directory")
    .action((run: string, _options: object, self: Command) => runEngine(self, engine, { run }));
  addExamples(command, ["tastemaker evaluate runs/first"]);
}
