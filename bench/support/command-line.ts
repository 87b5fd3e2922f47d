import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../../packages/tastemaker/dist/cli/main.js", import.meta.url));
const reporter = new URL("report-peak.mjs", import.meta.url).href;

export interface MeasuredRun {
  readonly seconds: number;
  readonly peakRssMiB: number;
  /** Seconds from the start to the first line of `watched`; undefined when it never had one. */
  readonly firstLineS: number | undefined;
}

/** Runs a built command in a process of its own (`npm run build` first), watching for the first line of a file. */
export async function measureCommand(args: readonly string[], watched?: string): Promise<MeasuredRun> {
  const folder = mkdtempSync(join(tmpdir(), "bench-peak-"));
  const peak = join(folder, "peak");
  const start = performance.now();
  const child = spawn(process.execPath, ["--import", reporter, main, ...args], { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, PEAK_FILE: peak, NODE_OPTIONS: "" } });
  let text = "";
  child.stderr.on("data", (data) => (text += String(data)));
  let firstLineS: number | undefined;
  const timer = setInterval(() => {
    if (watched !== undefined && firstLineS === undefined && existsSync(watched) && readFileSync(watched, "utf8").includes("\n")) firstLineS = (performance.now() - start) / 1000;
  }, 10);
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  clearInterval(timer);
  const seconds = (performance.now() - start) / 1000;
  if (code !== 0) throw new Error(`tastemaker ${args.join(" ")} ended with ${code}: ${text}`);
  const peakRssMiB = Number(readFileSync(peak, "utf8"));
  rmSync(folder, { recursive: true });
  return { seconds, peakRssMiB, firstLineS };
}
