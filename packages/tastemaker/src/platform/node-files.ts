import { closeSync, openSync, readSync, type Stats } from "node:fs";
import { open, realpath, stat } from "node:fs/promises";
import { isAbsolute, join, relative as relativePath, sep } from "node:path";
import { decodeStored, fileMissingError, fileTooShortError, folderOf, type Folder, type RandomAccessFile } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";

/** Linux transfers at most this many bytes per read call; larger tensors take several. */
const maximumReadBytes = 2 ** 30;

async function statFile(path: string): Promise<{ path: string; stats: Stats }> {
  try {
    const resolved = await realpath(path);
    return { path: resolved, stats: await stat(resolved) };
  } catch {
    throw fileMissingError(path);
  }
}

/**
 * Opens a file on disk for reading at any position. Symbolic links are resolved, so `name` is the real absolute path (hub caches are links).
 * The descriptor is opened per read, so nothing needs closing. Throws `UsageError` when the path is not a readable file.
 */
export async function openNodeFile(path: string): Promise<RandomAccessFile> {
  const { path: name, stats } = await statFile(path);
  if (!stats.isFile()) throw new UsageError("not-a-file", `file: expected a file, got ${stats.isDirectory() ? "a directory" : "something else"} (at ${path})`);
  const sizeBytes = stats.size;
  return {
    name,
    sizeBytes,
    read: async (offset, length) => {
      if (offset + length > sizeBytes) throw fileTooShortError(name, offset, length, sizeBytes);
      const bytes = new Uint8Array(length);
      const handle = await open(name).catch((error: unknown) => {
        throw unreadableError(name, error);
      });
      try {
        let done = 0;
        while (done < length) {
          const { bytesRead } = await handle.read(bytes, done, Math.min(length - done, maximumReadBytes), offset + done);
          if (bytesRead === 0) throw fileTooShortError(name, offset, length, offset + done);
          done += bytesRead;
        }
      } finally {
        await handle.close();
      }
      return bytes;
    },
  };
}

/** A directory on disk. Relative paths that leave it (`..`, absolute) are refused. Throws `UsageError` when `path` is not a directory. */
export async function openNodeFolder(path: string): Promise<Folder> {
  const { path: root, stats } = await statFile(path);
  if (!stats.isDirectory()) throw new UsageError("not-a-directory", `folder: expected a directory, got a file (at ${path})`);
  const locate = (relative: string): string => {
    const full = join(root, relative);
    const inside = relativePath(root, full);
    if (isAbsolute(relative) || inside === ".." || inside.startsWith(`..${sep}`)) {
      throw new UsageError("path-outside", `path: expected one inside the folder, got "${relative}" (at ${root})`);
    }
    return full;
  };
  const has = async (relative: string): Promise<boolean> => {
    try {
      return (await stat(locate(relative))).isFile();
    } catch (error) {
      if (error instanceof UsageError) throw error;
      return false;
    }
  };
  return folderOf(root, has, async (relative) => openNodeFile(locate(relative)));
}

/** Reads a stored weight synchronously as float32, for backends that ask for weights one by one (the float64 reference interpreter). */
export function readNodeWeight(source: { readonly file: string; readonly offset: number; readonly sizeBytes: number; readonly dtype: "F32" | "F16" | "BF16" }): Float32Array {
  const bytes = new Uint8Array(source.sizeBytes);
  const descriptor = openSync(source.file, "r");
  try {
    let done = 0;
    while (done < bytes.byteLength) {
      const count = readSync(descriptor, bytes, done, Math.min(bytes.byteLength - done, maximumReadBytes), source.offset + done);
      if (count === 0) throw fileTooShortError(source.file, source.offset, source.sizeBytes, source.offset + done);
      done += count;
    }
  } finally {
    closeSync(descriptor);
  }
  return decodeStored(source.dtype, bytes, source.file) as Float32Array;
}

function unreadableError(name: string, error: unknown): UsageError {
  return new UsageError("file-unreadable", `file: expected to be able to read it, got ${error instanceof Error ? error.message : String(error)} (at ${name})`, "check the permissions");
}
