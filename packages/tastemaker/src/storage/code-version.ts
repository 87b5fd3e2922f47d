import { execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { hashFile, hashText } from "./file-hash.ts";
import { packageVersion } from "./package-version.ts";

const repository: string = dirname(dirname(fileURLToPath(new URL("../../", import.meta.url))));

/**
 * Identity of the program's own code: the package's version and, when it runs from a repository, a hash over the given folders with everything that was changed or added
 * since the last commit. Two equal answers mean equal code; an answer that differs need not mean other numbers.
 *
 * @param folders Relative to the repository's root.
 */
export async function codeVersion(folders: readonly string[]): Promise<string> {
  const run = promisify(execFile);
  const git = async (...args: string[]): Promise<string> => (await run("git", args, { cwd: repository, timeout: 20_000, windowsHide: true, maxBuffer: 2 ** 28 })).stdout;
  try {
    // An installed package may lie inside somebody else's repository, whose commits would say nothing.
    await git("ls-files", "--error-unmatch", "packages/tastemaker/package.json");
    const trees = await git("rev-parse", ...folders.map((folder) => `HEAD:${folder}`));
    const changes = await git("diff", "HEAD", "--no-ext-diff", "--no-color", "--", ...folders);
    const added = (await git("ls-files", "-z", "--others", "--exclude-standard", "--", ...folders)).split("\0").filter((name) => name !== "");
    const contents = await Promise.all(added.map(async (name) => `${name} ${(await hashFile(join(repository, name))).sha256}`));
    return `${packageVersion()}+${hashText(JSON.stringify([trees, changes, contents])).slice(0, 16)}`;
  } catch {
    return packageVersion();
  }
}
