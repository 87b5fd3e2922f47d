import type { Command } from "commander";
import { collect } from "./help.ts";
import { realNumber, wholeNumber } from "./parse-option.ts";

/** Options of every command that trains a part of a model from captioned pictures. */
export interface StageOptions {
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

/** Adds them to a command. */
export function addStageOptions(command: Command): Command {
  return command
    .requiredOption("--out <folder>", "run directory")
    .option("--data <source>", "emoji, or a folder of pictures with captions", "emoji")
    .option("-c, --config <file>", "settings (JSON)")
    .option("--set <path=value>", "any setting (repeatable)", collect)
    .option("--minutes <n>", "stop after this time", realNumber(0))
    .option("--samples <n>", "stop after this many pictures", wholeNumber(1))
    .option("--seed <n>", "equal seeds give equal weights", wholeNumber(0), 0)
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0);
}
