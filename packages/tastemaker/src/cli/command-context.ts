import type { Output } from "./output.ts";

/** What a long-running command gets besides its options. */
export interface CommandContext {
  readonly output: Output;
  /** Aborted by Ctrl-C: finish the current step, save, say how to go on, return. */
  readonly signal: AbortSignal;
}

/** The function that does a command's work, imported only when the command runs. */
export type Engine<Options> = () => Promise<(options: Options, context: CommandContext) => Promise<void>>;
