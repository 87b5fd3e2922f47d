import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const packageRoot: string = fileURLToPath(new URL("../../", import.meta.url));
/** Flags with which Node runs TypeScript from source. */
export const sourceFlags: readonly string[] = ["--import", "tsx", "--conditions=@tastemaker/source"];

/** What a finished process left. */
export interface Finished {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A started process: `lines` resolves when stdout contains a text, `finished` when it ends. */
export interface Started {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  /** What stdout holds once it contains a text. */
  printed(text: string): Promise<string>;
}

function start(command: string, args: readonly string[], cwd: string = packageRoot): Started {
  const child = spawn(command, args, { cwd, env: { ...process.env, NO_COLOR: "1" }, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  const waiting: { text: string; done: (printed: string) => void }[] = [];
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    stdout += chunk;
    for (const { text, done } of waiting) if (stdout.includes(text)) done(stdout);
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  const printed = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      if (stdout.includes(text)) return resolve(stdout);
      waiting.push({ text, done: resolve });
      void finished.then((end) => reject(new Error(`the process ended before it printed "${text}": ${end.stderr}`)));
    });
  return { child, finished, printed };
}

/** Runs the command line from source, as `tastemaker ...args` would. */
export async function runTastemaker(...args: string[]): Promise<Finished> {
  return start(process.execPath, [...sourceFlags, join(packageRoot, "src/cli/main.ts"), ...args]).finished;
}

/** Starts the command line from source without waiting for its end. */
export function startTastemaker(...args: string[]): Started {
  return start(process.execPath, [...sourceFlags, join(packageRoot, "src/cli/main.ts"), ...args]);
}

/** Starts a TypeScript file from source. */
export function startScript(path: string, ...args: string[]): Started {
  return start(process.execPath, [...sourceFlags, path, ...args]);
}

/** Runs a shell command. */
export async function runShell(script: string, cwd?: string): Promise<Finished> {
  return start("sh", ["-c", script], cwd).finished;
}

/** Runs `use` with a new temporary folder, which is removed afterwards. */
export async function withTemporaryFolder<T>(use: (path: string) => Promise<T>): Promise<T> {
  const path = mkdtempSync(join(tmpdir(), "tastemaker-"));
  try {
    return await use(path);
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}
