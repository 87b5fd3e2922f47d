import type { Command } from "commander";
import type { Engine } from "./command-context.ts";
import { withInterrupt } from "./interrupt.ts";
import { outputOf } from "./output.ts";

/** Loads a command's engine and runs it with output and Ctrl-C handling. */
export async function runEngine<Options>(self: Command, engine: Engine<Options>, options: Options): Promise<void> {
  const output = outputOf(self);
  const run = await engine();
  await withInterrupt(output.note, (signal) => run(options, { output, signal }));
}
