import type { Command } from "commander";

/** Adds examples to the end of a command's help; each is a command line, optionally with a remark in front of it. */
export function addExamples(command: Command, examples: readonly (string | readonly [remark: string, line: string])[]): Command {
  const lines = examples.map((example) => (typeof example === "string" ? `  $ ${example}` : `  # ${example[0]}\n  $ ${example[1]}`));
  return command.addHelpText("after", `\n${examples.length === 1 ? "Example" : "Examples"}:\n${lines.join("\n")}`);
}

/** Collects a repeatable option into a list. */
export function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value];
}
