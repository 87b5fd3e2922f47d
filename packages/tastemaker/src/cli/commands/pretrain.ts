import type { Command } from "commander";
import { Argument } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples, collect } from "../help.ts";
import { realNumber, wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export const pretrainParts = ["vae", "clip", "unet", "judge"] as const;

export interface PretrainOptions {
  readonly part: (typeof pretrainParts)[number];
  /** Folder of captioned pictures, or `emoji` for the generator of the embedded world. */
  readonly data: string;
  readonly out: string;
  readonly config?: string;
  readonly set?: readonly string[];
  readonly minutes?: number;
  readonly samples?: number;
  readonly seed: number;
  readonly threads: number;
}

/** `tastemaker pretrain PART`: trains one part of a world from scratch; running it again continues. */
export function register(program: Command, engine: Engine<PretrainOptions>): void {
  const command = program
    .command("pretrain")
    .description("Train one part of a model from scratch on captioned pictures; run again to continue.")
    .addArgument(new Argument("<part>", "what to train").choices(pretrainParts))
    .requiredOption("--out <folder>", "run directory")
    .option("--data <source>", "emoji, or a folder of pictures with captions", "emoji")
    .option("-c, --config <file>", "settings of the part (JSON)")
    .option("--set <path=value>", "any setting (repeatable)", collect)
    .option("--minutes <n>", "stop after this time", realNumber(0))
    .option("--samples <n>", "stop after this many pictures", wholeNumber(1))
    .option("--seed <n>", "equal seeds give equal weights", wholeNumber(0), 0)
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
    .action((part: PretrainOptions["part"], options: Omit<PretrainOptions, "part">, self: Command) => runEngine(self, engine, { ...options, part }));
  addExamples(command, ["tastemaker pretrain vae --data pictures --out runs/vae --minutes 30"]);
}
