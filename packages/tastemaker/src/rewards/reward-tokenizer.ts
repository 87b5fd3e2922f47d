import { statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Folder, openTokenizer, type RandomAccessFile, type Tokenizer, type TokenizerKind } from "@tastemaker/diffusion";
import { openNodeFile, openNodeFolder } from "../platform/node-files.ts";

/** Names of a folder's lists of byte pairs (`bpe*.txt.gz`). */
export async function mergeLists(folder: Folder): Promise<string[]> {
  return (await readdir(folder.path)).filter((name) => /^bpe.*\.txt(?:\.gz)?$/.test(name));
}

/** The folder's only list of byte pairs (`bpe*.txt.gz`) where it has one, whatever its full name; else the folder. */
async function mergeList(kind: TokenizerKind, folder: Folder): Promise<Folder | RandomAccessFile> {
  if (kind !== "openai" && kind !== "open_clip") return folder;
  const lists = await mergeLists(folder);
  return lists.length === 1 ? openNodeFile(join(folder.path, lists[0]!)) : folder;
}

/**
 * Opens the tokenizer of a reward.
 *
 * @param beside Folder of the weights, where its files are looked for when `vocabulary` is not given.
 * @param vocabulary File or folder.
 * @throws UsageError whatever the files give reason to
 */
export async function openRewardTokenizer(kind: TokenizerKind, beside: Folder, vocabulary?: string): Promise<Tokenizer> {
  if (vocabulary === undefined) return openTokenizer(kind, await mergeList(kind, beside));
  const isFolder = statSync(vocabulary, { throwIfNoEntry: false })?.isDirectory() === true;
  return openTokenizer(kind, isFolder ? await mergeList(kind, await openNodeFolder(vocabulary)) : await openNodeFile(vocabulary));
}
