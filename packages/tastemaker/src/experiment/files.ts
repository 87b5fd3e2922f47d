import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { isTemporaryName, writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { isSystemError, storageError } from "../storage/storage-error.ts";
import type { Records } from "./choose.ts";
import type { RunRecord } from "./run-record.ts";

/** Digits that are kept: more than any standard error here leaves meaning to. */
const digits = 5;

/** JSON with every fraction rounded to five significant digits; whole numbers stay. */
export function roundedJson(value: unknown): string {
  return `${JSON.stringify(value, (_key, item: unknown) => (typeof item === "number" && Number.isFinite(item) && !Number.isInteger(item) ? Number(item.toPrecision(digits)) : item))}\n`;
}

/** Writes a record; its folder is created. */
export async function writeRecord(path: string, record: object): Promise<void> {
  await ensureFolder(dirname(path));
  await writeFileAtomic(path, roundedJson(record));
}

/**
 * Reads a record, or undefined where there is none.
 * @throws UsageError `record-damaged` for anything that is no JSON of that format
 */
export async function readRecord<T extends { readonly format: string }>(path: string, format: T["format"]): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOENT") return undefined;
    throw storageError(error, "read", path);
  }
  let value: Partial<T> | null = null;
  try {
    value = JSON.parse(text) as Partial<T> | null;
  } catch {
    // Said below.
  }
  if (value?.format === format) return value as T;
  throw new UsageError("record-damaged", `experiment: expected a record of format ${format} (at ${path})`, "delete the file; the experiment then makes it again");
}

/** All records of runs below a folder, by id. @throws UsageError `record-damaged` */
export async function readRunRecords(folder: string): Promise<Records> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    if (isSystemError(error) && error.code === "ENOENT") return [];
    throw storageError(error, "read", folder);
  });
  const records = new Map<string, RunRecord>();
  const paths = entries.filter((entry) => entry.isFile() && entry.name.endsWith(".json") && !isTemporaryName(entry.name)).map((entry) => join(entry.parentPath, entry.name));
  for (const path of paths.sort()) {
    const record = await readRecord<RunRecord>(path, "tastemaker-experiment-run/1");
    if (record !== undefined) records.set(record.spec.id, record);
  }
  return records;
}
