import { readdir } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { storageError } from "./storage-error.ts";

/**
 * Names of the files in a folder and its subfolders, relative to it with `/`, sorted by code unit. Linked files count; links to folders are not followed and listed as files.
 * @throws UsageError `path-missing`, `no-permission`
 */
export async function listFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    throw storageError(error, "read", folder);
  });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}
