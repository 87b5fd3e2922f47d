import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

/** Options of `tastemaker experiment paper|search|status|report`. */
export interface ExperimentOptions {
  readonly action: "paper" | "search" | "status" | "report";
  /** A name, or a JSON file of one's own. */
  readonly budget: string;
  readonly out: string;
  /** Folder of run directories, logs and caches. */
  readonly work: string;
  readonly only?: string;
  readonly rewards?: string;
  readonly methods?: string;
  readonly jobs?: number;
}

/** `tastemaker experiment`: the paper's tables and figures on the embedded world. */
export function register(program: Command, engine: Engine<ExperimentOptions>): void {
  const experiment = program.command("experiment").description("Make the paper's tables and figures with the embedded world.");
  const add = (action: ExperimentOptions["action"], description: string, example: string): void => {
    const command = experiment
      .command(action)
      .description(description)
      .option("--budget <name>", "quick (minutes), standard (hours), race (an hour and a half), full (days), or a JSON file of your own", "standard")
      .option("--out <folder>", "folder for the results; each budget has one of its own in it", "results")
      .option("--work <folder>", "folder for runs, logs and caches, which need no keeping", "runs/paper")
      .option("--jobs <n>", "runs at the same time, with one thread each (default: number of cores)", wholeNumber(1, 256));
    if (action !== "report") command.option("--methods <list>", "only these rows of Table 1, e.g. rocm-kl,rlcm");
    if (action === "paper" || action === "status") {
      command.option("--only <list>", "table1, table2, table4, fig3, fig4, fig5, fig6, auto, search; with what they need");
      command.option("--rewards <list>", "only these trained rewards, e.g. pick-score");
    }
    command.action((options: Omit<ExperimentOptions, "action">, self: Command) => runEngine(self, engine, { ...options, action }));
    addExamples(command, [example]);
  };
  add("paper", "Train and measure all that the tables and figures need; run again to go on.", "tastemaker experiment paper --budget quick");
  add("search", "Search every method's learning rate only.", "tastemaker experiment search --methods rlcm,ddpo");
  add("status", "Say what is done and what is left.", "tastemaker experiment status --budget quick");
  add("report", "Make tables and figures from the records again, without training.", "tastemaker experiment report");
  addExamples(experiment, ["tastemaker experiment paper --budget quick --only table1,fig4"]);
}
