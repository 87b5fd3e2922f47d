import { stat } from "node:fs/promises";
import type { CommandContext } from "../cli/command-context.ts";
import type { FetchOptions } from "../cli/commands/fetch.ts";
import { formatBytes } from "../cli/output.ts";
import { publishedFiles } from "../rewards/open-reward.ts";
import { locate, sizeOfFiles } from "./locate-weights.ts";
import type { NeededFiles } from "./needed-files.ts";

/** Fetches one name, says so, and returns what `--json` shows. */
async function fetchOne(name: string, needed: NeededFiles | undefined, { output, signal }: CommandContext): Promise<object> {
  const located = await locate(name, needed, { refresh: true, signal, note: (text) => output.note(`warning: ${text}`) });
  const { path, pinned, files, receivedBytes } = located;
  const sizeBytes = files.length === 0 ? (await stat(path)).size : await sizeOfFiles(located);
  const size = files.length === 0 ? "" : `, ${files.length} files of ${formatBytes(sizeBytes)}`;
  output.print(`${pinned}: ${receivedBytes === 0 ? "already here" : `${formatBytes(receivedBytes)} fetched`}${size}\n  ${path}`);
  return { name, pinned, path, files, sizeBytes, receivedBytes };
}

/** `tastemaker fetch NAME...`: fetches each in turn; what is in the cache and unchanged on the hub needs no download. A reward's name means its published files. */
export async function runFetch({ names }: FetchOptions, context: CommandContext): Promise<void> {
  const fetched: object[] = [];
  for (const name of names) {
    for (const part of publishedFiles(name) ?? [{ name, needed: undefined }]) fetched.push(await fetchOne(part.name, part.needed, context));
  }
  context.output.result({ fetched });
}
