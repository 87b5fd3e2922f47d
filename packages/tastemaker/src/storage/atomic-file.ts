import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isSystemError, storageError } from "./storage-error.ts";

/** A name beside `path` that no scan of the folder takes for a finished file. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
}

/** True for names made by `temporaryName`; such leftovers of a killed process may be removed by the folder's owner. */
export function isTemporaryName(name: string): boolean {
  return /^\..+\.[0-9a-f]{12}\.tmp$/.test(name);
}

/** Makes renames inside a folder durable. Windows cannot open folders, so there it does nothing. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Some network file systems refuse fsync on a folder; the file itself is already durable.
    if (!isSystemError(error) || !["EINVAL", "ENOTSUP", "EBADF"].includes(error.code)) throw error;
  } finally {
    await handle.close();
  }
}

/**
 * Writes a file so that readers see the old content or the new one, never a part, even after a crash or power loss.
 * @throws UsageError `disk-full`, `no-permission`, `path-missing`; the old file is then untouched and no temporary file remains
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const temporary = temporaryName(path);
  try {
    const handle = await open(temporary, "wx");
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw storageError(error, "write", path);
  }
}

async function syncTree(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) await syncTree(child);
    else if (entry.isFile()) {
      const handle = await open(child, "r+");
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
  }
  await syncDirectory(path);
}

/**
 * Creates a folder that appears complete or not at all: `fill` writes into a temporary one beside it, which is made durable and renamed.
 * An existing folder of that name is replaced.
 * @throws UsageError as `writeFileAtomic`; errors of `fill` pass through; in both cases no temporary folder remains
 */
export async function writeDirectoryAtomic(path: string, fill: (temporaryPath: string) => Promise<void>): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await mkdir(temporary);
    await fill(temporary);
    await syncTree(temporary);
    await rename(temporary, path).catch(async (error: unknown) => {
      if (!isSystemError(error) || !["ENOTEMPTY", "EEXIST", "EPERM"].includes(error.code)) throw error;
      const replaced = temporaryName(path);
      await rename(path, replaced);
      await rename(temporary, path);
      await rm(replaced, { recursive: true, force: true });
    });
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw storageError(error, "write", path);
  }
}
