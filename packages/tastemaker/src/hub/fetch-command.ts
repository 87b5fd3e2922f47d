import { stat } from "node:fs/promises";
import type { CommandContext } from "../cli/command-context.ts";
import type { FetchOptions } from "../cli/commands/fetch.ts";
import { formatBytes } from "../cli/output.ts";
import { locate, sizeOfFiles } from "./locate-weights.ts";

/** `tastemaker fetch NAME...`: fetches each in turn; what is in the cache and unchanged on the hub needs no download. */
export async function runFetch({ names }: FetchOptions, { output, signal }: CommandContext): Promise<void> {
  const fetched: object[] = [];
  for (const name of names) {
    const located = await locate(name, undefined, { refresh: true, signal, note: (text) => output.note(`warning: ${text}`) });
    const { path, pinned, files, receivedBytes } = located;
    const sizeBytes = files.length === 0 ? (await stat(path)).size : await sizeOfFiles(located);
    const size = files.length === 0 ? "" : `, ${files.length} files of ${formatBytes(sizeBytes)}`;
    output.print(`${pinned}: ${receivedBytes === 0 ? "already here" : `${formatBytes(receivedBytes)} fetched`}${size}\n  ${path}`);
    fetched.push({ name, pinned, path, files, sizeBytes, receivedBytes });
  }
  output.result({ fetched });
}
