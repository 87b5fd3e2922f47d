import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";

/** Memory of a process in MiB, as Linux tells it. */
export interface MemorySample {
  /** Everything resident, mapped files included. */
  readonly rss: number;
  /** What is nobody's file: heaps, arenas, copies. It has to fit into memory. */
  readonly anonymous: number;
  /** Mapped files, above all weights. They can be dropped and read again. */
  readonly file: number;
}

/** Reads a process's memory now, walking its pages, which takes tens of milliseconds for gigabytes; undefined when the process is gone. Linux only. */
export function sampleMemory(pid: number | "self"): MemorySample | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    const mebibytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0) / 1024;
    const [rss, anonymous] = [mebibytes("Rss"), mebibytes("Anonymous")];
    return { rss, anonymous, file: rss - anonymous };
  } catch {
    return undefined;
  }
}

/** The same from the kernel's counters: free of cost, so that it may be asked often. */
export function countMemory(pid: number | "self"): MemorySample | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/status`, "utf8");
    const mebibytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0) / 1024;
    return { rss: mebibytes("VmRSS"), anonymous: mebibytes("RssAnon"), file: mebibytes("RssFile") + mebibytes("RssShmem") };
  } catch {
    return undefined;
  }
}

/**
 * Watches this process's peak from a thread of its own, because onnxruntime blocks the main thread while it runs. `lap` gives the peaks since the last one
 * (each quantity's own peak).
 */
export class MemoryWatch {
  readonly #peaks = new Float64Array(new SharedArrayBuffer(24));
  readonly #worker: Worker;

  constructor(everyMs = 50) {
    const source = `const { workerData: { peaks, file, everyMs } } = require("node:worker_threads"); const { readFileSync } = require("node:fs");
      setInterval(() => {
        const text = readFileSync(file, "utf8");
        ["VmRSS", "RssAnon", "RssFile"].forEach((name, i) => { peaks[i] = Math.max(peaks[i], Number(new RegExp("^" + name + ":\\\\s+(\\\\d+)", "m").exec(text)?.[1] ?? 0) / 1024); });
      }, everyMs);`;
    this.#worker = new Worker(source, { eval: true, workerData: { peaks: this.#peaks, file: `/proc/${process.pid}/status`, everyMs }, env: {} });
    this.#worker.unref();
  }

  lap(): MemorySample {
    const now = countMemory("self");
    const [rss, anonymous, file] = this.#peaks as unknown as [number, number, number];
    this.#peaks.fill(0);
    return { rss: Math.max(rss, now?.rss ?? 0), anonymous: Math.max(anonymous, now?.anonymous ?? 0), file: Math.max(file, now?.file ?? 0) };
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}
