import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus, loadavg } from "node:os";

/** The middle value. */
export const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** Machine, versions, commit and load: what a measurement must say to be compared. */
export function circumstances(): Record<string, unknown> {
  const require = createRequire(import.meta.url);
  const { version } = JSON.parse(readFileSync(require.resolve("onnxruntime-node").replace(/dist.*/, "package.json"), "utf8")) as { version: string };
  const git = (...args: string[]): string => execFileSync("git", args, { encoding: "utf8" }).trim();
  return {
    machine: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores`,
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    onnxruntime: version,
    commit: git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain", "--untracked-files=no", "packages") === "" ? "" : " with changes"),
    loadAverage: loadavg()[0],
  };
}

/** Prints a result and, with a file, keeps it. */
export function writeResult(file: string | undefined, result: Readonly<Record<string, unknown>>): void {
  const text = `${JSON.stringify({ ...circumstances(), ...result }, (_, value: unknown) => (typeof value === "number" ? Number(value.toPrecision(5)) : value), 2)}\n`;
  process.stdout.write(text);
  if (file !== undefined) writeFileSync(file, text);
}
