import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { runEngine } from "../run-engine.ts";

export interface ResumeOptions {
  readonly run: string;
  /** Go on although the watch for over-optimisation stopped the run; it then only warns. */
  readonly ignoreWatch?: true;
}

/** `tastemaker resume RUN`: goes on from the newest complete checkpoint, with results equal to an uninterrupted run. */
export function register(program: Command, engine: Engine<ResumeOptions>): void {
  const command = program
    .command("resume")
    .description("Continue a stopped run from its newest checkpoint; the result equals an uninterrupted run.")
    .argument("<run>", "run directory")
    .option("--ignore-watch", "go on although the watch for over-optimisation stopped the run; it then only warns")
    .action((run: string, options: Omit<ResumeOptions, "run">, self: Command) => runEngine(self, engine, { ...options, run }));
  addExamples(command, ["tastemaker resume runs/first"]);
}
