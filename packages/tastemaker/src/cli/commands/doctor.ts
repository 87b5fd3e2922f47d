import type { Command } from "commander";
import { addExamples } from "../help.ts";
import { outputOf } from "../output.ts";

/** `tastemaker doctor`: can this machine run Tastemaker, and if not, what to do. */
export function register(program: Command): void {
  const command = program
    .command("doctor")
    .description("Check this machine: versions, compute providers, memory, disk, cache.")
    .action(async (_options: object, self: Command) => {
      const { examineMachine } = await import("../machine-checks.ts");
      const checks = await examineMachine();
      const output = outputOf(self);
      const width = Math.max(...checks.map(({ name }) => name.length));
      for (const { name, status, found, cure } of checks) {
        output.print(`${status.padEnd(4)} ${name.padEnd(width)}  ${found}`);
        if (cure !== undefined) output.print(`${" ".repeat(width + 7)}→ ${cure}`);
      }
      const isHealthy = checks.every(({ status }) => status !== "no");
      output.print(isHealthy ? "This machine can run Tastemaker." : "This machine cannot run Tastemaker yet: see the lines that begin with no.");
      output.result({ healthy: isHealthy, checks });
      if (!isHealthy) process.exitCode = 2;
    });
  addExamples(command, ["tastemaker doctor", "tastemaker doctor --json"]);
}
