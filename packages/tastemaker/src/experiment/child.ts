import { spawn } from "node:child_process";
import { open, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { storageError } from "../storage/storage-error.ts";

/** How a command of ours ended. */
export interface ChildEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  /** The one JSON line of its `--json` output; undefined when there is none. */
  readonly result: Readonly<Record<string, unknown>> | undefined;
}

export interface ChildOptions {
  /** What the command says to people is appended here. */
  readonly log: string;
  /** Folder of downloads, pictures and scores. */
  readonly cache: string;
  /** Asks the command to save and stop. */
  readonly signal: AbortSignal;
}

/**
 * Runs a command of this very program (from sources or compiled, as this process) and waits for its end. It is a process group of its own, so that Ctrl-C reaches it once, through
 * `signal`, and not a second time from the terminal, which would stop it at once. The channel to it carries nothing: when this process is killed, the command sees it close, saves and stops.
 */
export async function runChild(args: readonly string[], { log, cache, signal }: ChildOptions): Promise<ChildEnd> {
  await ensureFolder(dirname(log));
  const file = await open(log, "a").catch((error: unknown) => {
    throw storageError(error, "open", log);
  });
  try {
    await file.appendFile(`$ tastemaker ${args.join(" ")}\n`);
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, "--json", ...args], {
      detached: true,
      env: { ...process.env, TASTEMAKER_CACHE: cache },
      stdio: ["ignore", "pipe", file.fd, "ipc"],
      windowsHide: true,
    });
    let stdout = "";
    child.stdout!.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
    const stop = (): void => void child.kill("SIGINT");
    signal.addEventListener("abort", stop);
    try {
      const code = await new Promise<number | null>((resolve, reject) => {
        child.on("error", reject);
        child.on("close", resolve);
        if (signal.aborted) stop();
      });
      return { code, result: lastLine(stdout) };
    } finally {
      signal.removeEventListener("abort", stop);
    }
  } finally {
    await file.close();
  }
}

function lastLine(stdout: string): ChildEnd["result"] {
  try {
    const value: unknown = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** A command that ended otherwise than it should: what it was, where it is written down, and its last words. */
export class ChildFailure extends Error {
  readonly command: string;
  readonly log: string;
  /** Code of the command's own error, such as `not-finite`; undefined where it said none. */
  readonly code: string | undefined;

  constructor(command: string, log: string, code: string | undefined, lastWords: string) {
    super(`${lastWords}\n  command: ${command}\n  log: ${log}`);
    this.name = "ChildFailure";
    this.command = command;
    this.log = log;
    this.code = code;
  }
}

/** The failure of a child that ended with something else than 0. */
export async function failureOf({ code, result }: ChildEnd, command: string, log: string): Promise<ChildFailure> {
  const error = result?.["error"] as { code?: string; message?: string } | undefined;
  const text = await readFile(log, "utf8").catch(() => "");
  const words = error?.message ?? text.trim().split("\n").at(-1) ?? "";
  return new ChildFailure(command, log, error?.code, `${code === null ? "a signal ended it" : `exit code ${code}`}: ${words}`);
}
