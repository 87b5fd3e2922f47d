import { Command } from "commander";
import { packageVersion } from "../storage/package-version.ts";
import { registerCommands } from "./commands/index.ts";
import { addExamples } from "./help.ts";

/** The whole command line. `onError` receives commander's own complaints (unknown option, missing argument). */
export function createProgram(onError: (text: string) => void): Command {
  const program = new Command("tastemaker");
  program
    .description("Reward fine-tuning of few-step text-to-image models.")
    .version(packageVersion())
    .option("--json", "print one JSON line for machines on stdout; progress goes to stderr")
    .showSuggestionAfterError()
    .exitOverride()
    // Subcommands made by program.command() inherit these settings.
    .configureOutput({ outputError: (text) => onError(text) });
  addExamples(program, ["tastemaker doctor", "tastemaker train --help"]);
  registerCommands(program);
  return program;
}
