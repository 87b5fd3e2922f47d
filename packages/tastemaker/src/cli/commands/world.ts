import type { Command } from "commander";
import { preferencePrompts } from "../../worlds/emoji/preference-size.ts";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface WorldOptions {
  readonly action: "build" | "check" | "sheet" | "preferences";
  readonly model: string;
  /** Working folder of `build`, folder of `preferences`, picture of `sheet`, JSON of `check`. */
  readonly out?: string;
  readonly count: number;
  readonly steps: number;
  readonly seed: number;
  readonly threads: number;
}

/** `tastemaker world build|check|sheet|preferences`: the embedded world's making, quality and people. */
export function register(program: Command, engine: Engine<WorldOptions>): void {
  const world = program.command("world").description("Build, check and look at the embedded world.");
  const add = (action: WorldOptions["action"], description: string, count: number, example: string): void => {
    const command = world
      .command(action)
      .description(description)
      .option("--model <name>", "emoji, or a folder in the diffusers layout", "emoji")
      .option("--out <path>", action === "build" || action === "preferences" ? "working folder, kept between calls" : action === "check" ? "JSON file to write" : "PNG file to write")
      .option("--count <n>", action === "preferences" ? "prompts, six pairs each" : "held-out prompts", wholeNumber(1), count)
      .option("--steps <n>", "sampling steps", wholeNumber(1, 50), 8)
      .option("--seed <n>", "seed", wholeNumber(0), 0)
      .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
      .action((options: Omit<WorldOptions, "action">, self: Command) => runEngine(self, engine, { ...options, action }));
    addExamples(command, [example]);
  };
  add("build", "Train all parts from nothing; run again to continue.", 512, "tastemaker world build");
  add("check", "Measure the model on held-out prompts with the judge, which no training uses.", 512, "tastemaker world check --count 512");
  add("sheet", "Draw a sheet of held-out prompts.", 64, "tastemaker world sheet --out sheet.png");
  add("preferences", "Make pairs of the base model's pictures with the gold annotator's choices, for `reward fit`.", preferencePrompts, "tastemaker world preferences");
  addExamples(world, ["tastemaker world check"]);
}
