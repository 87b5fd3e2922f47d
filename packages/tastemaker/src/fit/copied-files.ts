import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { Folder, TokenizerKind } from "@tastemaker/diffusion";
import { vocabularyFiles } from "../hub/needed-files.ts";
import { openNodeFolder } from "../platform/node-files.ts";
import { mergeLists } from "../rewards/reward-tokenizer.ts";

/** Files of a folder, by name; those that are not there are left out. */
export async function copiedFiles(folder: Folder, names: readonly string[]): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const name of names) {
    if (!(await folder.has(name))) continue;
    const file = await folder.open(name);
    files.set(name, new Uint8Array(await file.read(0, file.sizeBytes)));
  }
  return files;
}

/** A name under which `openRewardTokenizer` finds a vocabulary that was given as a file of any name. */
function foundName(kind: TokenizerKind, given: string): string {
  if (given.endsWith(".json")) return "tokenizer.json";
  if (kind === "bert") return "vocab.txt";
  return given.endsWith(".gz") ? "bpe.txt.gz" : "bpe.txt";
}

/** The files of a reward's tokenizer, from where `openRewardTokenizer` reads them, under names by which it finds them again beside the weights. */
export async function tokenizerFiles(kind: TokenizerKind, beside: Folder, vocabulary: string | undefined): Promise<Map<string, Uint8Array>> {
  if (vocabulary !== undefined && !statSync(vocabulary).isDirectory()) {
    const files = await copiedFiles(await openNodeFolder(dirname(vocabulary)), [basename(vocabulary)]);
    return new Map([...files].map(([name, bytes]) => [foundName(kind, name), bytes]));
  }
  const folder = vocabulary === undefined ? beside : await openNodeFolder(vocabulary);
  return copiedFiles(folder, [...vocabularyFiles, ...(await mergeLists(folder))]);
}
