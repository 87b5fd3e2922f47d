import { monotonicMs } from "../storage/clock.ts";

/** `timeout` and other launchers signal a process and then its group: what comes within so many milliseconds is the same wish. */
const sameWish = 500;

/**
 * Runs `work` with a signal that the first Ctrl-C (or SIGTERM) aborts: the work finishes its current step, saves and returns.
 * A second Ctrl-C ends the process at once with exit code 130. A process that was started with a channel to its parent stops in the same way when the parent is gone, killed or not.
 */
export async function withInterrupt<T>(note: (text: string) => void, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let firstAt: number | undefined;
  const onSignal = (): void => {
    if (firstAt !== undefined && monotonicMs() - firstAt < sameWish) return;
    if (controller.signal.aborted) process.exit(130);
    firstAt = monotonicMs();
    note("\nfinishing the current step and saving; press Ctrl-C again to stop at once (the last checkpoint stays)");
    controller.abort();
  };
  const onOrphaned = (): void => controller.abort();
  // Gone while this process was still starting.
  if (process.connected === false) onOrphaned();
  process.on("disconnect", onOrphaned);
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    return await work(controller.signal);
  } finally {
    process.off("disconnect", onOrphaned);
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}
