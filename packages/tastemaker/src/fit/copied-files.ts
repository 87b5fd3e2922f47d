import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { Folder } from "@tastemaker/diffusion";
import { vocabularyFiles } from "../hub/needed-files.ts";
import { openNodeFolder } from "../platform/node-files.ts";

/** Files of a folder that a tokenizer or a preprocessing is read from, by name. */
export async function copiedFiles(folder: Folder, names: readonly string[]): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const name of names) {
    if (!(await folder.has(name))) continue;
    const file = await folder.open(name);
    files.set(name, new Uint8Array(await file.read(0, file.sizeBytes)));
  }
  return files;
}

/** The files of a reward's tokenizer, from where `openRewardTokenizer` reads them. */
export async function tokenizerFiles(beside: Folder, vocabulary: string | undefined): Promise<Map<string, Uint8Array>> {
  if (vocabulary === undefined) return copiedFiles(beside, vocabularyFiles);
  if (statSync(vocabulary).isDirectory()) return copiedFiles(await openNodeFolder(vocabulary), vocabularyFiles);
  return copiedFiles(await openNodeFolder(dirname(vocabulary)), [basename(vocabulary)]);
}
