import { appendFile, readdir, readFile, rename, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Picture } from "@tastemaker/diffusion";
import { describe, expect, it } from "vitest";
import { hashFile } from "../storage/file-hash.ts";
import { withTemporaryFolder } from "../testing/child.ts";
import { contentKey, pictureHash } from "./content-key.ts";
import { EvaluationCache } from "./evaluation-cache.ts";
import { PictureStore } from "./picture-store.ts";
import { ValueStore } from "./value-store.ts";

const picture = (seed: number, side = 6): Picture => ({ height: side, width: side, pixels: Uint8Array.from({ length: 3 * side * side }, (_, i) => (i * 37 + seed * 101) % 256) });
const key = (text: string): string => contentKey({ text });

describe("picture store", () => {
  it("gives back exactly the pixels that were kept, also to another process", () =>
    withTemporaryFolder(async (folder) => {
      const store = new PictureStore(folder);
      expect(await store.read(key("a"))).toBeUndefined();
      const hash = await store.write(key("a"), picture(1));
      for (const reader of [store, new PictureStore(folder)]) {
        const stored = (await reader.read(key("a")))!;
        expect(stored.hash).toBe(hash);
        expect(Buffer.from(stored.picture.pixels)).toEqual(Buffer.from(picture(1).pixels));
      }
    }));

  it("takes a damaged, exchanged or cut file for absent", () =>
    withTemporaryFolder(async (folder) => {
      const store = new PictureStore(folder);
      const damage: readonly ((path: string) => Promise<void>)[] = [
        (path) => truncate(path, 60),
        (path) => writeFile(path, "no picture"),
        async (path) => {
          const bytes = await readFile(path);
          bytes[bytes.length - 30]! ^= 1;
          await writeFile(path, bytes);
        },
        async (path) => {
          // A whole picture under a wrong name.
          const other = join(folder, "other");
          await new PictureStore(other).write(key("b"), picture(2));
          await rename((await new PictureStore(other).pathOf(key("b")))!, path);
        },
      ];
      for (const harm of damage) {
        await store.write(key("a"), picture(1));
        await harm((await store.pathOf(key("a")))!);
        expect(await new PictureStore(folder).read(key("a"))).toBeUndefined();
        expect(await store.read(key("a"))).toBeUndefined();
      }
    }));

  it("tells pictures of other sizes or pixels apart", () => {
    const { pixels } = picture(1, 6);
    const hashes = [picture(1), picture(2), { height: 4, width: 9, pixels }, { height: 9, width: 4, pixels }].map(pictureHash);
    expect(new Set(hashes).size).toBe(4);
  });
});

describe("value store", () => {
  it("keeps numbers to the last bit, and texts, apart for each identity", () =>
    withTemporaryFolder(async (folder) => {
      const store = await ValueStore.open(folder, { what: "a" });
      const values = [0.1 + 0.2, -1e-308, Math.PI * 1e10, -0.75];
      await store.add(values.map((value, index) => [key(String(index)), value]));
      await store.add([[key("text"), "AAECAw=="]]);
      const again = await ValueStore.open(folder, { what: "a" });
      for (const [index, value] of values.entries()) expect(again.get(key(String(index)))).toBe(value);
      expect(again.get(key("text"))).toBe("AAECAw==");
      expect((await ValueStore.open(folder, { what: "b" })).get(key("0"))).toBeUndefined();
    }));

  it("leaves out lines that are torn or edited, and goes on after them", () =>
    withTemporaryFolder(async (folder) => {
      const about = { what: "a" };
      await (await ValueStore.open(folder, about)).add([[key("0"), 1], [key("1"), 2]]);
      const [name] = await readdir(folder);
      const path = join(folder, name!);
      await writeFile(path, (await readFile(path, "utf8")).replace('"value":2', '"value":3'));
      await appendFile(path, '{"key":"x","val');
      const store = await ValueStore.open(folder, about);
      expect([store.get(key("0")), store.get(key("1"))]).toEqual([1, undefined]);
      await store.add([[key("2"), 4]]);
      const again = await ValueStore.open(folder, about);
      expect([again.get(key("0")), again.get(key("1")), again.get(key("2"))]).toEqual([1, undefined, 4]);
    }));
});

describe("evaluation cache", () => {
  it("removes what was not used for longest, never what is in use, and everything for a limit of 0", () =>
    withTemporaryFolder(async (folder) => {
      const root = join(folder, "cache");
      const store = new PictureStore(join(root, "pictures"));
      for (const [index, name] of ["old", "older", "used"].entries()) {
        await store.write(key(name), picture(index));
        await utimes((await store.pathOf(key(name)))!, 1000 + (name === "old" ? 1 : 0), 1000 + (name === "old" ? 1 : 0));
      }
      const cache = await EvaluationCache.open(root);
      await cache.pictures.read(key("used"));
      const size = (await readFile((await store.pathOf(key("old")))!)).length;
      expect(await cache.prune(1e9)).toBe(0);
      expect(await cache.prune(2.5 * size)).toBeGreaterThan(0);
      const left = async (): Promise<boolean[]> => Promise.all(["old", "older", "used"].map(async (name) => (await new PictureStore(join(root, "pictures")).read(key(name))) !== undefined));
      expect(await left()).toEqual([true, false, true]);
      const next = await EvaluationCache.open(root);
      await next.pictures.read(key("used"));
      await next.prune(1);
      expect(await left()).toEqual([true, false, true]);
      await next.prune(0);
      expect(await left()).toEqual([false, false, false]);
    }));

  it("hashes a file again when it changes, though its size does not", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "weights");
      await writeFile(path, "aaaa");
      const cache = await EvaluationCache.open(join(folder, "cache"));
      const first = await cache.hashes.of(path);
      expect(first).toMatchObject({ path, sizeBytes: 4 });
      expect(await (await EvaluationCache.open(join(folder, "cache"))).hashes.of(path)).toEqual(first);
      await writeFile(path, "aaab");
      await utimes(path, 5, 5);
      expect((await cache.hashes.of(path)).sha256).not.toBe(first.sha256);
      await expect(cache.hashes.of(join(folder, "none"))).rejects.toMatchObject({ code: "path-missing" });
    }));

  it("hashes a file where the hash cannot be kept, too", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "weights");
      await writeFile(path, "aaaa");
      const cache = await EvaluationCache.open(join(folder, "cache"));
      await writeFile(join(folder, "cache"), "a file in the way");
      expect(await cache.hashes.of(path)).toEqual({ path, ...(await hashFile(path)) });
    }));
});
