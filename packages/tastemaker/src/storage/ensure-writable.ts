import { open, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { temporaryName } from "./atomic-file.ts";
import { ensureFolder } from "./ensure-folder.ts";
import { storageError } from "./storage-error.ts";

/**
 * Makes sure that `writeFileAtomic` can write a file, before long work whose result it will be: creates its folder and, for a moment, a temporary file there.
 * @throws UsageError `path-missing` when a folder has the name or a file is in the way, `no-permission`, `disk-full`
 */
export async function ensureWritable(path: string): Promise<void> {
  if ((await stat(path).catch(() => undefined))?.isDirectory() === true) throw new UsageError("path-missing", `cannot write ${path}: it is a folder, not a file`, "give the path of a file");
  await ensureFolder(dirname(path));
  const temporary = temporaryName(path);
  try {
    await (await open(temporary, "wx")).close();
  } catch (error) {
    throw storageError(error, "write", path);
  } finally {
    await rm(temporary, { force: true });
  }
}
