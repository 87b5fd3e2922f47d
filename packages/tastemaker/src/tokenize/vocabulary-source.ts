import { stat } from "node:fs/promises";
import { fileMissingError, folderOf, type TokenizerSource } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import { openNodeFile, openNodeFolder } from "../platform/node-files.ts";

/**
 * The files of `--vocab` as one source: a folder, one file, or `vocab.json` and `merges.txt` under any names. Throws `UsageError` when they are missing or
 * are another combination.
 */
export async function openVocabulary(paths: readonly string[]): Promise<TokenizerSource> {
  const [first, second] = paths;
  if (paths.length === 1 && first !== undefined) {
    const isDirectory = await stat(first).then((stats) => stats.isDirectory(), () => false);
    return isDirectory ? openNodeFolder(first) : openNodeFile(first);
  }
  const vocabulary = paths.find((path) => path.endsWith(".json"));
  const merges = paths.find((path) => path.endsWith(".txt"));
  if (paths.length !== 2 || second === undefined || vocabulary === undefined || merges === undefined) {
    throw new UsageError("vocabulary-files", `--vocab: expected one file or folder, or vocab.json and merges.txt, got ${paths.join(", ")}`);
  }
  const files = new Map([
    ["vocab.json", await openNodeFile(vocabulary)],
    ["merges.txt", await openNodeFile(merges)],
  ]);
  return folderOf(
    paths.join(", "),
    (name) => Promise.resolve(files.has(name)),
    (name) => {
      const file = files.get(name);
      return file === undefined ? Promise.reject(fileMissingError(name)) : Promise.resolve(file);
    },
  );
}
