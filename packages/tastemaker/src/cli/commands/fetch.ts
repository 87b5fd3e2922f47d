import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { runEngine } from "../run-engine.ts";

export interface FetchOptions {
  readonly names: readonly string[];
}

/** `tastemaker fetch NAME...`: models and reward weights into the cache, for machines without a network. */
export function register(program: Command, engine: Engine<FetchOptions>): void {
  const command = program
    .command("fetch")
    .description("Fetch models and reward weights into the cache, or bring them up to date. Only the files that are needed.")
    .argument("<names...>", "owner/name, owner/name@revision or owner/name:file on the Hugging Face hub, an https address, or a reward whose published files are meant")
    .action((names: string[], _options: object, self: Command) => runEngine(self, engine, { names }));
  addExamples(command, [
    "tastemaker fetch SimianLuo/LCM_Dreamshaper_v7 pick-score",
    ["one file", "tastemaker fetch xswu/HPSv2:HPS_v2.1_compressed.pt"],
    ["from now on without a network", "HF_HUB_OFFLINE=1 tastemaker train --model SimianLuo/LCM_Dreamshaper_v7 …"],
  ]);
}
