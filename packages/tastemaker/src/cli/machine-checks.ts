import { readFile, rm, statfs } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { dirname, join } from "node:path";
import { freeMemory } from "../platform/free-memory.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { cacheDirectory } from "../storage/cache-directory.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { onnxruntimeVersion } from "../storage/environment.ts";
import { formatBytes } from "./output.ts";

/** One question about the machine. `note` means: works, but slower or tighter than it could be. */
export interface MachineCheck {
  readonly name: string;
  readonly status: "yes" | "note" | "no";
  readonly found: string;
  readonly cure?: string;
}

/** Memory that training the embedded world needs, measured generously. */
const worldMemoryBytes = 1.5e9;
/** Memory that one full-size (SD1.5) step with gradients needs beside the mapped weights. */
const fullModelMemoryBytes = 6e9;
const leastDiskBytes = 1e9;

function checkNode(): MachineCheck {
  const found = `${process.versions.node} on ${process.platform}-${process.arch}`;
  const isNew = Number(process.versions.node.split(".")[0]) >= 20;
  return isNew ? { name: "Node 20 or newer", status: "yes", found } : { name: "Node 20 or newer", status: "no", found, cure: "install the current long-term version of Node" };
}

async function checkOnnxruntime(): Promise<MachineCheck[]> {
  const name = "onnxruntime loads";
  const version = onnxruntimeVersion();
  if (version === undefined) return [{ name, status: "no", found: "onnxruntime-node is not installed", cure: "run npm install" }];
  try {
    await import("onnxruntime-node");
    return [{ name, status: "yes", found: `onnxruntime-node ${version}` }, ...(await checkProviders())];
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0]! : String(error);
    return [{ name, status: "no", found: `onnxruntime-node ${version}: ${reason}`, cure: "onnxruntime needs glibc 2.28 or newer on Linux (not musl), Windows 10 or macOS 13.4; try rm -r node_modules && npm install" }];
  }
}

/** Graphics cards are never required. Their providers are tried, since what is installed says little. */
async function checkProviders(): Promise<MachineCheck[]> {
  const { probeProvider } = await import("../platform/probe-provider.ts");
  const { PROVIDER_CURES } = await import("@tastemaker/tensor");
  const checks: MachineCheck[] = [{ name: "--provider cpu", status: "yes", found: "always" }];
  for (const provider of ["webgpu", "cuda"] as const) {
    const problem = await probeProvider(provider);
    const name = `--provider ${provider}`;
    if (problem === undefined) checks.push({ name, status: "yes", found: "starts" });
    else checks.push({ name, status: "note", found: `does not start: ${problem}`, cure: `not needed; ${PROVIDER_CURES[provider]}` });
  }
  return checks;
}

async function checkCpu(): Promise<MachineCheck[]> {
  const cores = availableParallelism();
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const checks: MachineCheck[] = [
    cores >= 2 ? { name: "two cores or more", status: "yes", found: `${cores} (${model})` } : { name: "two cores or more", status: "note", found: `1 (${model})`, cure: "everything works, about half as fast" },
  ];
  const name = "vector instructions";
  if (process.arch === "arm64") return [...checks, { name, status: "yes", found: "NEON" }];
  const info = await readFile("/proc/cpuinfo", "utf8").catch(() => undefined);
  if (info === undefined) return [...checks, { name, status: "yes", found: "not listed by this system" }];
  const flags = new Set(/^flags\s*:(.*)$/m.exec(info)?.[1]?.trim().split(/\s+/));
  const found = ["avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"].filter((flag) => flags.has(flag));
  if (flags.has("avx2")) return [...checks, { name, status: "yes", found: found.join(", ") }];
  return [...checks, { name, status: "note", found: found.length === 0 ? "no AVX" : found.join(", "), cure: "everything works, several times slower than with AVX2" }];
}

function checkMemory(): MachineCheck {
  const { totalBytes: total, availableBytes: available } = freeMemory();
  const found = `${formatBytes(available)} free of ${formatBytes(total)}`;
  const name = "memory";
  if (available < worldMemoryBytes) return { name, status: "no", found, cure: `close other programs: the embedded world needs ${formatBytes(worldMemoryBytes)}` };
  if (available < fullModelMemoryBytes) return { name, status: "note", found, cure: `enough for the embedded world; full-size models need about ${formatBytes(fullModelMemoryBytes)}, or a sixth less with --checkpointing block` };
  return { name, status: "yes", found };
}

async function nearestFolderSpace(path: string): Promise<number | undefined> {
  for (let folder = path; ; folder = dirname(folder)) {
    const stats = await statfs(folder).catch(() => undefined);
    if (stats !== undefined) return stats.bavail * stats.bsize;
    if (dirname(folder) === folder) return undefined;
  }
}

async function checkDisk(name: string, folder: string): Promise<MachineCheck> {
  const free = await nearestFolderSpace(folder);
  if (free === undefined) return { name, status: "note", found: `unknown for ${folder}` };
  const found = `${formatBytes(free)} for ${folder}`;
  return free >= leastDiskBytes ? { name, status: "yes", found } : { name, status: "no", found, cure: `free some: a run needs about ${formatBytes(leastDiskBytes)}` };
}

async function checkWritable(name: string, folder: string, cure: string): Promise<MachineCheck> {
  const probe = join(folder, ".tastemaker-doctor");
  try {
    await ensureFolder(folder);
    await writeFileAtomic(probe, "probe");
    await rm(probe);
    return { name, status: "yes", found: folder };
  } catch (error) {
    return { name, status: "no", found: error instanceof Error ? error.message : String(error), cure };
  }
}

/** Asks every question; the order is that of a person reading from the top. */
export async function examineMachine(): Promise<MachineCheck[]> {
  const cache = cacheDirectory();
  return [
    checkNode(),
    ...(await checkOnnxruntime()),
    ...(await checkCpu()),
    checkMemory(),
    await checkDisk("disk space for runs", process.cwd()),
    await checkWritable("this folder is writable", process.cwd(), "run in another folder, or give --out"),
    await checkWritable("cache is writable", cache, "set TASTEMAKER_CACHE to a folder that is"),
  ];
}
