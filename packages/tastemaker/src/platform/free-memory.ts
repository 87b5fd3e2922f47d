import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";

export interface FreeMemory {
  /** What this process may have at most: the machine's memory, or its container's limit. */
  readonly totalBytes: number;
  /** What can be had now without swapping, caches given up. */
  readonly availableBytes: number;
}

/** Memory of this machine, or of this container where that is smaller. */
export function freeMemory(): FreeMemory {
  const limit = process.constrainedMemory();
  // "No limit" is a huge number or 0.
  const totalBytes = limit !== undefined && limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return { totalBytes, availableBytes: Math.min(totalBytes, availableByKernel() ?? freemem()) };
}

/** Linux knows better than `freemem` what caches can be given up. */
function availableByKernel(): number | undefined {
  try {
    const kibibytes = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
    return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
  } catch {
    return undefined;
  }
}
