import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { runShell, withTemporaryFolder } from "../testing/child.ts";
import { writeDirectoryAtomic, writeFileAtomic } from "./atomic-file.ts";

const source = JSON.stringify(fileURLToPath(new URL("atomic-file.ts", import.meta.url)));
const node = `${process.execPath} --import tsx --conditions=@tastemaker/source`;
const canMount = (await runShell("unshare -rm mount -t tmpfs -o size=64k none /mnt")).code === 0;
const isRoot = process.getuid?.() === 0;

async function script(folder: string, body: string): Promise<string> {
  const path = join(folder, "script.mts");
  await writeFile(path, `import { writeFileAtomic, writeDirectoryAtomic } from ${source};\nimport { writeFile } from "node:fs/promises";\n${body}`);
  return path;
}

describe("atomic files", () => {
  it("replace a file or a folder as a whole", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "a.txt");
      await writeFileAtomic(path, "one");
      await writeFileAtomic(path, new TextEncoder().encode("two"));
      expect(await readFile(path, "utf8")).toBe("two");
      for (const name of ["x", "y"]) await writeDirectoryAtomic(join(folder, "d"), (temporary) => writeFile(join(temporary, name), name));
      expect(await readdir(join(folder, "d"))).toEqual(["y"]);
      expect((await readdir(folder)).sort()).toEqual(["a.txt", "d"]);
    }));

  it("leave nothing behind when a folder cannot be filled", () =>
    withTemporaryFolder(async (folder) => {
      await writeDirectoryAtomic(join(folder, "d"), (temporary) => writeFile(join(temporary, "x"), "old"));
      await expect(writeDirectoryAtomic(join(folder, "d"), () => Promise.reject(new Error("no")))).rejects.toThrow("no");
      expect(await readdir(folder)).toEqual(["d"]);
      expect(await readFile(join(folder, "d/x"), "utf8")).toBe("old");
    }));

  it("say which folder is missing", async () => {
    await expect(writeFileAtomic("/nowhere/at/all.txt", "x")).rejects.toMatchObject({ name: "UsageError", code: "path-missing" });
  });

  it.skipIf(!canMount)("keep the old file and the old folder on a full disk", () =>
    withTemporaryFolder(async (folder) => {
      const path = await script(
        folder,
        `await writeFileAtomic("/mnt/a", "old");
         await writeDirectoryAtomic("/mnt/d", (t) => writeFile(t + "/x", "old"));
         for (const attempt of [
           () => writeFileAtomic("/mnt/a", new Uint8Array(200_000)),
           () => writeDirectoryAtomic("/mnt/e", (t) => writeFile(t + "/x", new Uint8Array(200_000))),
         ]) await attempt().catch((error) => process.stdout.write(error.name + " " + error.code + " " + error.message + "\\n"));`,
      );
      const end = await runShell(`unshare -rm sh -c 'mount -t tmpfs -o size=64k none /mnt && ${node} ${path} && ls -A /mnt && cat /mnt/a /mnt/d/x'`);
      expect(end.stdout).toBe(
        "UsageError disk-full cannot write /mnt/a: no space left on the device (ENOSPC); free some space and run the command again; what was saved before is intact\n" +
          "UsageError disk-full cannot write /mnt/e: no space left on the device (ENOSPC); free some space and run the command again; what was saved before is intact\n" +
          "a\nd\noldold",
      );
    }),
  );

  it.skipIf(process.platform === "win32")("explain a folder that may not be written", () =>
    withTemporaryFolder(async (folder) => {
      const path = await script(folder, `await writeFileAtomic(process.argv[2], "x").catch((error) => process.stdout.write(error.code + " " + error.message));`);
      // Root ignores modes, so there a read-only mount stands for the locked folder.
      if (isRoot && !canMount) return;
      const end = isRoot
        ? await runShell(`unshare -rm sh -c 'mount -t tmpfs -o ro none /mnt && ${node} ${path} /mnt/a'`)
        : await runShell(`mkdir '${folder}/locked' && chmod 500 '${folder}/locked' && ${node} ${path} '${folder}/locked/a'`);
      expect(end.stdout).toMatch(/^no-permission cannot write .*(permission denied|read-only)/);
    }),
  );
});
