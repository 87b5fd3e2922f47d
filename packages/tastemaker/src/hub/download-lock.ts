import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { tryLock } from "../storage/run-lock.ts";
import { interruptedError } from "./http.ts";

const pollMs = 250;

/**
 * Runs `work` while no other process of this machine does the same under this lock; waits for one that does.
 * A lock of another machine (a shared disk) cannot be judged: it may be the leftover of a crash. Then `work` is told that it is not alone, and has to keep out of the
 * other's way.
 */
export async function withDownloadLock<T>(path: string, work: (isAlone: boolean) => Promise<T>, { signal, note }: { readonly signal?: AbortSignal; readonly note?: (text: string) => void } = {}): Promise<T> {
  await ensureFolder(dirname(path));
  for (let isTold = false; ; isTold = true) {
    const taken = await tryLock(path);
    if ("lock" in taken) {
      try {
        return await work(true);
      } finally {
        await taken.lock.release();
      }
    }
    const { holder } = taken;
    if (holder.host !== hostname()) return work(false);
    if (!isTold && holder.pid !== process.pid) note?.(`waiting for process ${holder.pid}, which fetches the same file`);
    await delay(pollMs, undefined, signal === undefined ? {} : { signal }).catch(() => {
      throw interruptedError();
    });
  }
}
