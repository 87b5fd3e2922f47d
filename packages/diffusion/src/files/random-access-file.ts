import { UsageError } from "@tastemaker/tensor";

/** A file whose bytes can be read in any order; how it is opened (disk, browser blob, memory) is the platform's business. */
export interface RandomAccessFile {
  /** Absolute path with symbolic links resolved; appears in messages and becomes `WeightSource.file`. */
  readonly name: string;
  readonly sizeBytes: number;
  /**
   * The `length` bytes at `offset`, as an array of its own (never a view of a reused buffer).
   * Throws `UsageError` when the file ends before `offset + length`.
   */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** A directory of files addressed by relative path with `/` between names. */
export interface Folder {
  /** Absolute path with symbolic links resolved; appears in messages. */
  readonly path: string;
  /** Whether `relative` is a file that can be opened. */
  has(relative: string): Promise<boolean>;
  /** Throws `UsageError` when `relative` is not a readable file. */
  open(relative: string): Promise<RandomAccessFile>;
  /** The parsed JSON value of a UTF-8 file; throws `UsageError` when it is missing or not JSON. */
  readJson(relative: string): Promise<unknown>;
  /** The text of a UTF-8 file; throws `UsageError` when it is missing or not UTF-8. */
  readText(relative: string): Promise<string>;
}

/** Bytes in memory as a file. */
export function memoryFile(name: string, bytes: Uint8Array): RandomAccessFile {
  return {
    name,
    sizeBytes: bytes.byteLength,
    read: (offset, length) =>
      offset + length <= bytes.byteLength
        ? Promise.resolve(new Uint8Array(bytes.subarray(offset, offset + length)))
        : Promise.reject(fileTooShortError(name, offset, length, bytes.byteLength)),
  };
}

/** Files in memory as a folder; `files` maps relative paths to bytes, as `encodeDiffusersDirectory` returns them. */
export function memoryFolder(path: string, files: ReadonlyMap<string, Uint8Array>): Folder {
  return folderOf(
    path,
    (relative) => Promise.resolve(files.has(relative)),
    (relative) => {
      const bytes = files.get(relative);
      return bytes === undefined
        ? Promise.reject(fileMissingError(`${path}/${relative}`))
        : Promise.resolve(memoryFile(`${path}/${relative}`, bytes));
    },
  );
}

/** Builds a `Folder` from the two operations that differ between platforms. */
export function folderOf(
  path: string,
  has: (relative: string) => Promise<boolean>,
  open: (relative: string) => Promise<RandomAccessFile>,
): Folder {
  const readText = async (relative: string): Promise<string> => {
    const file = await open(relative);
    return decodeUtf8(await file.read(0, file.sizeBytes), file.name);
  };
  return {
    path,
    has,
    open,
    readText,
    readJson: async (relative) => parseJson(await readText(relative), `${path}/${relative}`),
  };
}

/** Decodes strict UTF-8; throws `UsageError` naming `where`. */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new UsageError("not-utf8", `text: expected UTF-8, got other bytes (at ${where})`, "the file may be damaged or of another kind");
  }
}

/** Parses JSON; throws `UsageError` naming `where`. */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError("not-json", `JSON: expected a JSON document, got "${text.slice(0, 40)}…" (at ${where}): ${String((error as Error).message).slice(0, 200)}`);
  }
}

/** A parsed JSON value as an object; throws `UsageError` naming `where` when it is anything else. */
export function asJsonObject(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const got = value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
    throw new UsageError("not-an-object", `JSON: expected an object {…}, got ${got} (at ${where})`);
  }
  return value as Readonly<Record<string, unknown>>;
}

export function fileMissingError(name: string): UsageError {
  return new UsageError("file-missing", `file: expected a readable file, got nothing (at ${name})`, "check the path and that the download is complete");
}

export function fileTooShortError(name: string, offset: number, length: number, sizeBytes: number): UsageError {
  return new UsageError(
    "file-too-short",
    `file: expected at least ${offset + length} bytes, got ${sizeBytes} (at ${name})`,
    "the file is cut short; fetch it again",
  );
}
