import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples, collect } from "../help.ts";
import { realNumber, wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface DistillOptions {
  readonly teacher: string;
  readonly data: string;
  readonly out: string;
  readonly config?: string;
  readonly set?: readonly string[];
  readonly minutes?: number;
  readonly samples?: number;
  readonly seed: number;
  readonly threads: number;
}

/** `tastemaker distill TEACHER`: makes a few-step consistency model from a diffusion model; running it again continues. */
export function register(program: Command, engine: Engine<DistillOptions>): void {
  const command = program
    .command("distill")
    .description("Distil a diffusion model into a latent consistency model; run again to continue.")
    .argument("<teacher>", "emoji, or the teacher's folder in the diffusers layout")
    .requiredOption("--out <folder>", "run directory")
    .option("--data <source>", "emoji, or a folder of pictures with captions", "emoji")
    .option("-c, --config <file>", "settings of the distillation (JSON)")
    .option("--set <path=value>", "any setting (repeatable)", collect)
    .option("--minutes <n>", "stop after this time", realNumber(0))
    .option("--samples <n>", "stop after this many pictures", wholeNumber(1))
    .option("--seed <n>", "equal seeds give equal weights", wholeNumber(0), 0)
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
    .action((teacher: string, options: Omit<DistillOptions, "teacher">, self: Command) => runEngine(self, engine, { ...options, teacher }));
  addExamples(command, ["tastemaker distill emoji --out runs/lcm --minutes 60"]);
}
