import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { withTemporaryFolder } from "../testing/child.ts";
import { resolvePrompts } from "./prompt-lists.ts";

describe("prompt lists", () => {
  it("are read from a text file without empty lines and remarks", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "p.txt");
      await writeFile(path, "\uFEFF# animals\r\na cat\r\n\r\n  a dog \n");
      const list = await resolvePrompts(path);
      expect(list.prompts).toEqual(["a cat", "a dog"]);
      expect((await resolvePrompts(["a cat", "a dog"])).sha256).toBe(list.sha256);
      expect((await resolvePrompts(path, 1)).prompts).toEqual(["a cat"]);
      await writeFile(path, "# nothing\n");
      await expect(resolvePrompts(path)).rejects.toMatchObject({ code: "prompts-empty" });
    }));

  it("of the world are distinct, and held-out ones are never trained on", async () => {
    const training = await resolvePrompts("world:train");
    const heldOut = await resolvePrompts("world:held-out", 64);
    expect(new Set(training.prompts).size).toBe(512);
    expect(heldOut.prompts).toHaveLength(64);
    expect(heldOut.prompts.filter((prompt) => training.prompts.includes(prompt))).toEqual([]);
    await expect(resolvePrompts("world:test")).rejects.toMatchObject({ code: "prompts-unknown" });
  });

  it("refuse empty and endless prompts", async () => {
    await expect(resolvePrompts(["a cat", " "])).rejects.toMatchObject({ code: "prompt-empty" });
    await expect(resolvePrompts(["x".repeat(5001)])).rejects.toMatchObject({ code: "prompt-too-long" });
  });
});
