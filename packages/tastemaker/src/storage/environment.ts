import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { packageVersion } from "./package-version.ts";

/** What a run depended on besides its configuration. */
export interface Environment {
  readonly tastemaker: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly platform: string;
  readonly cpu: string;
  /** Cores this process may use. */
  readonly cores: number;
  readonly memoryBytes: number;
  /** Threads the run asked onnxruntime for; 0 lets it decide. */
  readonly threads: number;
  /** Commit of the source tree the program runs from, with `+changes` when files differ from it; absent outside a repository. */
  readonly commit?: string;
}

const packageRoot: string = fileURLToPath(new URL("../../", import.meta.url));

/** Version of the installed onnxruntime-node, or undefined when it is not installed. */
export function onnxruntimeVersion(): string | undefined {
  try {
    const require = createRequire(import.meta.url);
    // The package exports no package.json, so it is found beside the entry point without loading the native library.
    const entry = require.resolve("onnxruntime-node");
    const root = entry.slice(0, entry.lastIndexOf("onnxruntime-node") + "onnxruntime-node".length);
    return (JSON.parse(readFileSync(`${root}/package.json`, "utf8")) as { version: string }).version;
  } catch {
    return undefined;
  }
}

/** Commit of the repository that tracks the package in `folder`; undefined when there is none (an installed package) or git is absent. */
export async function gitCommit(folder: string = packageRoot): Promise<string | undefined> {
  const run = promisify(execFile);
  const options = { cwd: folder, timeout: 5000, windowsHide: true };
  try {
    // An installed package may lie inside somebody else's repository, whose commit would say nothing.
    await run("git", ["ls-files", "--error-unmatch", "package.json"], options);
    const { stdout: commit } = await run("git", ["rev-parse", "HEAD"], options);
    const { stdout: changes } = await run("git", ["status", "--porcelain", "--untracked-files=no"], options);
    return commit.trim() + (changes.trim() === "" ? "" : "+changes");
  } catch {
    return undefined;
  }
}

/** Describes this machine and these versions for `run.json`. */
export async function describeEnvironment(threads: number): Promise<Environment> {
  const commit = await gitCommit();
  return {
    tastemaker: packageVersion(),
    node: process.versions.node,
    onnxruntime: onnxruntimeVersion() ?? "not installed",
    platform: `${process.platform}-${process.arch} ${release()}`,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    threads,
    ...(commit === undefined ? {} : { commit }),
  };
}
