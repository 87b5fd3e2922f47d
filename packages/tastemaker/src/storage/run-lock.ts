import { link, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { UsageError } from "@tastemaker/tensor";
import { temporaryName } from "./atomic-file.ts";
import { wallClock } from "./clock.ts";
import { isSystemError, storageError } from "./storage-error.ts";

/** Who holds a lock. */
export interface LockOwner {
  readonly pid: number;
  /** Kernel start time of the process, so that a reused pid is not taken for the owner; undefined where the system does not tell. */
  readonly processStart?: string;
  readonly host: string;
  readonly startedAt: string;
}

/** Start time of a process in clock ticks since boot (Linux), or undefined when it does not exist or the system does not tell. */
function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command name may contain spaces and parentheses; fields count from the last ")". Start time is field 22.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isSystemError(error) && error.code === "EPERM";
  }
}

function parseOwner(text: string): LockOwner | undefined {
  try {
    const value = JSON.parse(text) as Partial<LockOwner> | null;
    if (value === null || typeof value.pid !== "number" || typeof value.host !== "string" || typeof value.startedAt !== "string") return undefined;
    return value as LockOwner;
  } catch {
    return undefined;
  }
}

/** A lock is stale when its process is gone on this machine; a lock of another machine cannot be judged and counts as held. */
function isStale(owner: LockOwner): boolean {
  if (owner.host !== hostname()) return false;
  if (!isAlive(owner.pid)) return true;
  const start = processStart(owner.pid);
  return owner.processStart !== undefined && start !== undefined && start !== owner.processStart;
}

async function createExclusive(path: string, text: string): Promise<boolean> {
  const temporary = temporaryName(path);
  try {
    await writeFile(temporary, text, { flag: "wx" });
    try {
      // A hard link appears with its whole content or fails if the name is taken: nobody reads a half-written lock.
      await link(temporary, path);
    } catch (error) {
      if (!isSystemError(error) || error.code === "EEXIST") throw error;
      const handle = await open(path, "wx");
      await handle.writeFile(text).finally(() => handle.close());
    }
    return true;
  } catch (error) {
    if (isSystemError(error) && error.code === "EEXIST") return false;
    throw storageError(error, "lock", path);
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** A held lock. */
export interface RunLock {
  /** Gives the lock back; harmless when called twice. */
  release(): Promise<void>;
}

/**
 * Takes the lock file at `path` if it is free, or left by a dead process of this machine; otherwise says who holds it.
 * @throws UsageError `run-locked` when several processes fight for it, and as file operations do
 */
export async function tryLock(path: string): Promise<{ readonly lock: RunLock } | { readonly holder: LockOwner }> {
  const start = processStart(process.pid);
  const owner: LockOwner = {
    pid: process.pid,
    ...(start === undefined ? {} : { processStart: start }),
    host: hostname(),
    startedAt: wallClock().toISOString(),
  };
  const text = `${JSON.stringify(owner)}\n`;
  for (let attempt = 0; attempt < 10; attempt++) {
    if (await createExclusive(path, text)) {
      let isHeld = true;
      return {
        lock: {
          release: async () => {
            if (!isHeld) return;
            isHeld = false;
            await rm(path, { force: true }).catch(() => undefined);
          },
        },
      };
    }
    const found = await readFile(path, "utf8").catch((error: unknown) => {
      if (isSystemError(error) && error.code === "ENOENT") return undefined;
      throw storageError(error, "read", path);
    });
    if (found === undefined) continue;
    const holder = parseOwner(found);
    if (holder !== undefined && !isStale(holder)) return { holder };
    const aside = temporaryName(path);
    try {
      await rename(path, aside);
    } catch (error) {
      if (isSystemError(error) && error.code === "ENOENT") continue;
      throw storageError(error, "lock", path);
    }
    // Another process may have replaced the stale lock between reading and renaming: then this is its live lock, and it goes back.
    if ((await readFile(aside, "utf8")) !== found) await link(aside, path).catch(() => undefined);
    await rm(aside, { force: true });
  }
  throw new UsageError("run-locked", `lock: several processes are fighting for ${path}`, "start them one at a time");
}

/**
 * Takes the lock of a run directory at `path`, replacing one left by a dead process.
 * @throws UsageError `run-locked` when a living process (or one of another machine) holds it
 */
export async function acquireLock(path: string): Promise<RunLock> {
  const taken = await tryLock(path);
  if ("lock" in taken) return taken.lock;
  const { pid, host, startedAt } = taken.holder;
  throw new UsageError(
    "run-locked",
    `run directory: expected no other process in it, got process ${pid} on ${host} since ${startedAt} (lock ${path})`,
    host === hostname() ? "wait for it, stop it, or choose another --out" : "if that machine no longer runs it, delete the lock file",
  );
}
