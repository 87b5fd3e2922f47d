import { CommanderError } from "commander";
import { createProgram } from "./program.ts";

interface Failure {
  readonly exitCode: number;
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly stack?: string;
}

/** UsageError is recognised by its name, so that a start that fails early loads nothing heavy. */
function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { exitCode: 1, code: "internal", message: String(error) };
  const { code, hint } = error as Error & { code?: unknown; hint?: unknown };
  if (error.name === "UsageError") {
    return { exitCode: 2, code: typeof code === "string" ? code : "usage", message: error.message, ...(typeof hint === "string" ? { hint } : {}) };
  }
  return { exitCode: 1, code: "internal", message: error.message, stack: error.stack ?? error.message };
}

/**
 * Runs one command line and returns the exit code: 0 done, 2 bad input (one message, no stack), 1 a fault of this software (stack).
 * With `--json` a failure is also the one JSON line on stdout: `{"error": {code, message}}`.
 */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  const isJson = args.includes("--json");
  const fail = (failure: Failure): number => {
    const { exitCode, code, message, hint, stack } = failure;
    if (stack === undefined) process.stderr.write(`error: ${message}\n`);
    else process.stderr.write(`${stack}\nThis is a fault of Tastemaker; please report it with the command that caused it: tastemaker ${args.join(" ")}\n`);
    if (isJson) process.stdout.write(`${JSON.stringify({ error: { code, message, ...(hint === undefined ? {} : { hint }) } })}\n`);
    return exitCode;
  };
  let complaint = "";
  const program = createProgram((text) => {
    complaint += text;
  });
  try {
    await program.parseAsync([...args], { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (!(error instanceof CommanderError)) return fail(failureOf(error));
    if (error.exitCode === 0) return 0;
    // Without any command, commander asks for the help, which it has printed.
    if (error.code === "commander.help") return 2;
    return fail({ exitCode: 2, code: error.code.replace("commander.", "").replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), message: complaint.replace(/^error: /, "").trim() });
  }
}
