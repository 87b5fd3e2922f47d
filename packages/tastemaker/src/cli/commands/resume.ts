import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface ResumeOptions {
  readonly run: string;
  /** Go on although the watch for over-optimisation stopped the run; it then only warns. */
  readonly ignoreWatch?: true;
  /** The run's new number of iterations; its own when left out. */
  readonly iterations?: number;
}

/** `tastemaker resume RUN`: goes on from the newest complete checkpoint, with results equal to an uninterrupted run; also beyond its planned end. */
export function register(program: Command, engine: Engine<ResumeOptions>): void {
  const command = program
    .command("resume")
    .description("Continue a stopped run from its newest checkpoint; the result equals an uninterrupted run. With --iterations, train a run for longer than was planned.")
    .argument("<run>", "run directory")
    .option("--iterations <n>", "train until so many iterations are done, instead of as many as the run was planned for", wholeNumber(1))
    .option("--ignore-watch", "go on although the watch for over-optimisation stopped the run; it then only warns")
    .action((run: string, options: Omit<ResumeOptions, "run">, self: Command) => runEngine(self, engine, { ...options, run }));
  addExamples(command, ["tastemaker resume runs/first", ["train a finished run for longer", "tastemaker resume runs/first --iterations 400"]]);
}
