import { mkdir, mkdtemp, rm, symlink, writeFile, realpath } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openNodeFile, openNodeFolder, readNodeWeight } from "./node-files.ts";

let root: string;
beforeAll(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "node-files-")));
  await mkdir(join(root, "blobs"));
  await mkdir(join(root, "model"));
  await writeFile(join(root, "blobs", "abc"), Uint8Array.from([1, 2, 3, 4, 0, 0x3c, 0, 0xc0]));
  await writeFile(join(root, "model", "config.json"), '{"a": 1}');
  await writeFile(join(root, "model", "broken.json"), "{");
  await symlink("../blobs/abc", join(root, "model", "weights.safetensors"));
  await symlink("../blobs/gone", join(root, "model", "dangling"));
});
afterAll(async () => rm(root, { recursive: true }));

describe("openNodeFile", () => {
  it("resolves links, as hub caches need, and reads ranges", async () => {
    const file = await openNodeFile(join(root, "model", "weights.safetensors"));
    expect([file.name, file.sizeBytes]).toEqual([join(root, "blobs", "abc"), 8]);
    expect(await file.read(1, 2)).toEqual(Uint8Array.from([2, 3]));
    expect(await file.read(8, 0)).toEqual(new Uint8Array(0));
  });
  it("refuses ranges beyond the end, directories and missing files", async () => {
    const file = await openNodeFile(join(root, "blobs", "abc"));
    await expect(file.read(7, 2)).rejects.toThrow(/expected at least 9 bytes, got 8/);
    await expect(openNodeFile(root)).rejects.toThrow(/expected a file, got a directory/);
    for (const name of ["nothing", "model/dangling"]) await expect(openNodeFile(join(root, name))).rejects.toBeInstanceOf(UsageError);
  });
});

describe("openNodeFolder", () => {
  it("finds files and reads JSON", async () => {
    const folder = await openNodeFolder(join(root, "model"));
    expect([await folder.has("config.json"), await folder.has("weights.safetensors"), await folder.has("dangling"), await folder.has("none")]).toEqual([true, true, false, false]);
    expect(await folder.readJson("config.json")).toEqual({ a: 1 });
    await expect(folder.readJson("broken.json")).rejects.toThrow(/broken\.json/);
    await expect(folder.readText("none")).rejects.toBeInstanceOf(UsageError);
  });
  it("refuses paths that leave the folder", async () => {
    const folder = await openNodeFolder(join(root, "model"));
    for (const path of ["../blobs/abc", "/etc/passwd", "a/../../blobs/abc"]) await expect(folder.has(path)).rejects.toThrow(/expected one inside the folder/);
  });
});

it("readNodeWeight widens half precision", () => {
  const source = { file: join(root, "blobs", "abc"), offset: 4, sizeBytes: 4, dtype: "F16" } as const;
  expect([...readNodeWeight(source)]).toEqual([1, -2]);
});
