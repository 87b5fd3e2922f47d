import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { withTemporaryFolder } from "../testing/child.ts";
import { listFiles } from "./list-files.ts";

it("files of all subfolders are listed by relative name, sorted, without the folders", () =>
  withTemporaryFolder(async (folder) => {
    await mkdir(join(folder, "b.png", "deep"), { recursive: true });
    for (const name of ["c", "a", "b.png/x", "b.png/deep/y"]) await writeFile(join(folder, name), "");
    await symlink(join(folder, "a"), join(folder, "link"));
    expect(await listFiles(folder)).toEqual(["a", "b.png/deep/y", "b.png/x", "c", "link"]);
    await expect(listFiles(join(folder, "none"))).rejects.toMatchObject({ code: "path-missing" });
  }));
