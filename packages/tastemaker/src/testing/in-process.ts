import { runCommandLine } from "../cli/run-command-line.ts";

/** What a command line left that ran in this process. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process, which saves the start of another; what it prints is caught. */
export async function runInProcess(...args: string[]): Promise<Ended> {
  let [stdout, stderr] = ["", ""];
  const streams = [process.stdout, process.stderr].map((stream) => ({ stream, write: stream.write.bind(stream) }));
  process.stdout.write = (text: string | Uint8Array) => Boolean((stdout += String(text)));
  process.stderr.write = (text: string | Uint8Array) => Boolean((stderr += String(text)));
  const before = process.exitCode;
  try {
    const code = await runCommandLine(args);
    return { code, stdout, stderr };
  } finally {
    process.exitCode = before;
    for (const { stream, write } of streams) stream.write = write;
  }
}
