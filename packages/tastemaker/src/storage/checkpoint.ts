import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { isTemporaryName, writeDirectoryAtomic } from "./atomic-file.ts";
import { hashFile } from "./file-hash.ts";
import { listFiles } from "./list-files.ts";
import { isSystemError, storageError } from "./storage-error.ts";

/** Name of the file that says a checkpoint is complete and what belongs to it. */
export const checkpointManifestName = "checkpoint.json";

/** Lines and bytes of an append-only log at the moment of a checkpoint. */
export interface LogPosition {
  readonly lines: number;
  readonly bytes: number;
}

/** Content of `checkpoint.json`. */
export interface CheckpointManifest {
  readonly format: 1;
  /** Iterations finished when it was written. */
  readonly step: number;
  readonly metrics: LogPosition;
  readonly timings: LogPosition;
  /** Step of the best checkpoint when this one was written; absent before the first evaluation. */
  readonly best?: number;
  /** Size and hash of every other file, keyed by path with forward slashes. */
  readonly files: Readonly<Record<string, { readonly sizeBytes: number; readonly sha256: string }>>;
}

/** A complete checkpoint. */
export interface Checkpoint extends CheckpointManifest {
  readonly path: string;
}

/** Folder name of a checkpoint, e.g. `step-000123`. */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(6, "0")}`;
}

/**
 * Writes `checkpoints/step-NNNNNN` as one atomic folder: the files made by `fill` plus the manifest.
 * @throws UsageError when the disk is full or not writable; earlier checkpoints are untouched
 */
export async function writeCheckpoint(
  folder: string,
  about: Omit<CheckpointManifest, "format" | "files">,
  fill: (path: string) => Promise<void>,
): Promise<Checkpoint> {
  const path = join(folder, checkpointName(about.step));
  let manifest: CheckpointManifest | undefined;
  await writeDirectoryAtomic(path, async (temporary) => {
    await fill(temporary);
    const files: Record<string, { sizeBytes: number; sha256: string }> = {};
    for (const name of await listFiles(temporary)) files[name] = await hashFile(join(temporary, name));
    manifest = { format: 1, ...about, files };
    await writeFile(join(temporary, checkpointManifestName), `${JSON.stringify(manifest, null, 2)}\n`);
  });
  return { ...manifest!, path };
}

/** Reads a checkpoint's manifest, or says in words why the folder is not a complete checkpoint. */
async function readCheckpoint(path: string): Promise<Checkpoint | string> {
  let manifest: CheckpointManifest;
  try {
    manifest = JSON.parse(await readFile(join(path, checkpointManifestName), "utf8")) as CheckpointManifest;
  } catch (error) {
    return isSystemError(error) ? `${checkpointManifestName} cannot be read (${error.code})` : `${checkpointManifestName} is not JSON`;
  }
  if (manifest?.format !== 1 || !Number.isInteger(manifest.step) || typeof manifest.files !== "object" || manifest.files === null) {
    return `${checkpointManifestName} is not of format 1`;
  }
  for (const [name, { sizeBytes }] of Object.entries(manifest.files)) {
    const found = await stat(join(path, name)).catch(() => undefined);
    if (found === undefined) return `${name} is missing`;
    if (found.size !== sizeBytes) return `${name} has ${found.size} bytes instead of ${sizeBytes}`;
  }
  return { ...manifest, path };
}

/**
 * Complete checkpoints of a folder by ascending step, and the damaged ones with the reason. A missing folder holds none.
 * Sizes are compared here; call `verifyCheckpoint` for the hashes.
 */
export async function listCheckpoints(folder: string): Promise<{ complete: Checkpoint[]; damaged: { path: string; reason: string }[] }> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isSystemError(error) && error.code === "ENOENT") return [];
    throw storageError(error, "read", folder);
  });
  const complete: Checkpoint[] = [];
  const damaged: { path: string; reason: string }[] = [];
  for (const name of names) {
    if (!/^step-\d{6,}$/.test(name)) continue;
    const path = join(folder, name);
    const read = await readCheckpoint(path);
    if (typeof read === "string") damaged.push({ path, reason: read });
    else complete.push(read);
  }
  complete.sort((a, b) => a.step - b.step);
  return { complete, damaged };
}

/**
 * Compares every file with the hash in the manifest.
 * @throws UsageError `checkpoint-damaged` naming the first file that differs
 */
export async function verifyCheckpoint(checkpoint: Checkpoint): Promise<void> {
  for (const [name, { sha256 }] of Object.entries(checkpoint.files)) {
    const found = await hashFile(join(checkpoint.path, name));
    if (found.sha256 !== sha256) {
      throw new UsageError(
        "checkpoint-damaged",
        `checkpoint: expected SHA-256 ${sha256}, got ${found.sha256} (at ${join(checkpoint.path, name)})`,
        "delete this checkpoint's folder to go on from the one before",
      );
    }
  }
}

/** Removes all but the last `keep` checkpoints and the one of step `best`; also leftovers of killed writers. */
export async function pruneCheckpoints(folder: string, keep: number, best?: number): Promise<void> {
  const { complete } = await listCheckpoints(folder);
  const removable = complete.slice(0, Math.max(0, complete.length - Math.max(1, keep))).filter(({ step }) => step !== best);
  for (const checkpoint of removable) await rm(checkpoint.path, { recursive: true, force: true });
  for (const name of await readdir(folder)) {
    if (isTemporaryName(name)) await rm(join(folder, name), { recursive: true, force: true });
  }
}
