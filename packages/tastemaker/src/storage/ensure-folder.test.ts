import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { withTemporaryFolder } from "../testing/child.ts";
import { ensureFolder } from "./ensure-folder.ts";

it("several may create the same folders at once", () =>
  withTemporaryFolder(async (root) => {
    for (let round = 0; round < 20; round++) {
      const path = join(root, String(round), "a", "b", "c", "d");
      await Promise.all(Array.from({ length: 8 }, () => ensureFolder(path)));
      expect((await stat(path)).isDirectory()).toBe(true);
    }
  }));

it("a folder that cannot be is an error", () =>
  withTemporaryFolder(async (root) => {
    await writeFile(join(root, "file"), "");
    await expect(ensureFolder(join(root, "file"))).rejects.toMatchObject({ code: "path-missing" });
    await expect(ensureFolder(join(root, "file", "below"))).rejects.toMatchObject({ code: "path-missing" });
    if (process.platform === "linux") await expect(ensureFolder("/proc/tastemaker/below")).rejects.toMatchObject({ code: "path-missing" });
  }));
