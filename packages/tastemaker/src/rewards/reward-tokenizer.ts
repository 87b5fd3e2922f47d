import { statSync } from "node:fs";
import { type Folder, openTokenizer, type Tokenizer, type TokenizerKind } from "@tastemaker/diffusion";
import { openNodeFile, openNodeFolder } from "../platform/node-files.ts";

/**
 * Opens the tokenizer of a reward.
 *
 * @param beside Folder of the weights, where its files are looked for when `vocabulary` is not given.
 * @param vocabulary File or folder.
 * @throws UsageError whatever the files give reason to
 */
export async function openRewardTokenizer(kind: TokenizerKind, beside: Folder, vocabulary?: string): Promise<Tokenizer> {
  if (vocabulary === undefined) return openTokenizer(kind, beside);
  const isFolder = statSync(vocabulary, { throwIfNoEntry: false })?.isDirectory() === true;
  return openTokenizer(kind, isFolder ? await openNodeFolder(vocabulary) : await openNodeFile(vocabulary));
}
