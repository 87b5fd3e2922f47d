import type { Command } from "commander";
import { addExamples } from "../help.ts";
import { outputOf } from "../output.ts";

/** `tastemaker report RUN`: writes the run's `report.html` again. */
export function register(program: Command): void {
  const command = program
    .command("report")
    .description("Write report.html of a run again from what the run directory holds.")
    .argument("<run>", "run directory")
    .action(async (run: string, _options: object, self: Command) => {
      const { writeReport } = await import("../../report/write-report.ts");
      const path = await writeReport(run);
      const output = outputOf(self);
      output.print(path);
      output.result({ report: path });
    });
  addExamples(command, ["tastemaker report runs/2026-11-23-emoji"]);
}
