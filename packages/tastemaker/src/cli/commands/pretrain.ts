import type { Command } from "commander";
import { Argument } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { runEngine } from "../run-engine.ts";
import { addStageOptions, type StageOptions } from "../stage-options.ts";

export const pretrainParts = ["vae", "clip", "blip", "unet", "judge"] as const;

export interface PretrainOptions extends StageOptions {
  readonly part: (typeof pretrainParts)[number];
}

/** `tastemaker pretrain PART`: trains one part of a world from scratch; running it again continues. */
export function register(program: Command, engine: Engine<PretrainOptions>): void {
  const command = program
    .command("pretrain")
    .description("Train one part of a model from scratch on captioned pictures; run again to continue.")
    .addArgument(new Argument("<part>", "what to train").choices(pretrainParts));
  addStageOptions(command).action((part: PretrainOptions["part"], options: StageOptions, self: Command) => runEngine(self, engine, { ...options, part }));
  addExamples(command, ["tastemaker pretrain vae --data pictures --out runs/vae --minutes 30"]);
}
