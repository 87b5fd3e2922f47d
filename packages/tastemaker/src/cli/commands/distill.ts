import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { runEngine } from "../run-engine.ts";
import { addStageOptions, type StageOptions } from "../stage-options.ts";

export interface DistillOptions extends StageOptions {
  readonly teacher: string;
}

/** `tastemaker distill TEACHER`: makes a few-step consistency model from a diffusion model; running it again continues. */
export function register(program: Command, engine: Engine<DistillOptions>): void {
  const command = program
    .command("distill")
    .description("Distil a diffusion model into a latent consistency model; run again to continue.")
    .argument("<teacher>", "emoji, the teacher's folder in the diffusers layout, or owner/name of a repository on the hub");
  addStageOptions(command).action((teacher: string, options: StageOptions, self: Command) => runEngine(self, engine, { ...options, teacher }));
  addExamples(command, ["tastemaker distill emoji --out runs/lcm --minutes 60"]);
}
