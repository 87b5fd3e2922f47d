import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { runPaths } from "../storage/run-directory.ts";
import { tryLock } from "../storage/run-lock.ts";

/** Waits for a run that a killed experiment left running; it saves where it is and ends by itself. Returns early when `signal` aborts. */
export async function waitForRun(run: string, { signal, note }: { readonly signal: AbortSignal; readonly note: (text: string) => void }): Promise<void> {
  const { lock } = runPaths(run);
  for (let isSaid = false; existsSync(lock) && !signal.aborted; isSaid = true) {
    const taken = await tryLock(lock);
    if ("lock" in taken) return taken.lock.release();
    if (!isSaid) note(`waiting for process ${taken.holder.pid} on ${taken.holder.host} (lock ${lock})`);
    await sleep(500, undefined, { signal }).catch(() => undefined);
  }
}
