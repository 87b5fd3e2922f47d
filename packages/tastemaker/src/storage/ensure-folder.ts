import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { isSystemError, storageError } from "./storage-error.ts";

/**
 * Creates a folder and its parents where they are missing. (Node's recursive mkdir never returns below /proc and the like.)
 * @throws UsageError `path-missing` when a file is in the way, `no-permission`, `disk-full`
 */
export async function ensureFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
    return;
  } catch (error) {
    if (isSystemError(error) && error.code === "EEXIST") {
      if ((await stat(path).catch(() => undefined))?.isDirectory()) return;
      throw new UsageError("path-missing", `folder: expected a folder, got a file (at ${path})`, "choose another name");
    }
    const parent = dirname(path);
    if (!isSystemError(error) || error.code !== "ENOENT" || parent === path) throw storageError(error, "create", path);
    // It may be there by now: another process creates the same folders.
    if ((await stat(parent).catch(() => undefined)) === undefined) await ensureFolder(parent);
  }
  await mkdir(path).catch((error: unknown) => {
    // Another process may have created it in between.
    if (!isSystemError(error) || error.code !== "EEXIST") throw storageError(error, "create", path);
  });
}
