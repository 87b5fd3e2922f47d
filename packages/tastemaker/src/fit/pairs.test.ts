import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { withTemporaryFolder } from "../testing/child.ts";
import { type Pair, readPairs, splitByPrompt } from "./pairs.ts";

const good = { prompt: "a cat", image_a: "1.png", image_b: "2.png", label: 1 };

/** A folder with the table `table/pairs.jsonl` and three files that stand for pictures. */
function writeTable(folder: string, rows: readonly object[] | string, name = "pairs.jsonl"): string {
  const table = join(folder, "table");
  mkdirSync(table, { recursive: true });
  for (const picture of ["1.png", "2.png"]) writeFileSync(join(table, picture), picture);
  writeFileSync(join(folder, "secret.png"), "secret");
  writeFileSync(join(table, name), typeof rows === "string" ? rows : rows.map((row) => JSON.stringify(row)).join("\n"));
  return join(table, name);
}

describe("a table of pairs", () => {
  it.each([
    [1, 1],
    ["1", 1],
    ["a", 1],
    ["A", 1],
    [0, 0],
    ["b", 0],
    [0.5, 0.5],
    [".5", 0.5],
    ["tie", 0.5],
  ])("takes %j for the label %j", (given, label) =>
    withTemporaryFolder(async (folder) => {
      const { pairs } = await readPairs(writeTable(folder, [{ ...good, label: given, probability: 0.25 }]), folder);
      expect(pairs).toMatchObject([{ prompt: "a cat", label, probability: 0.25, first: join(folder, "table/1.png") }]);
    }),
  );

  it("may be a CSV with quoted prompts", () =>
    withTemporaryFolder(async (folder) => {
      const path = writeTable(folder, '\uFEFFprompt,image_a,image_b,label,probability\r\n"a ""big"" cat, and\na dog",1.png,2.png,tie,\r\n\r\nx,2.png,1.png,0,.25', "pairs.csv");
      const { pairs } = await readPairs(path, folder);
      expect(pairs.map(({ prompt, label, probability }) => [prompt, label, probability])).toEqual([
        ['a "big" cat, and\na dog', 0.5, undefined],
        ["x", 0, 0.25],
      ]);
    }));

  it("may name pictures elsewhere by their absolute paths only", () =>
    withTemporaryFolder(async (folder) => {
      const absolute = writeTable(folder, [{ ...good, image_b: join(folder, "secret.png") }]);
      expect((await readPairs(absolute, folder)).pairs[0]!.second).toBe(join(folder, "secret.png"));
      symlinkSync(join(folder, "secret.png"), join(folder, "table/link.png"));
      for (const image of ["../secret.png", "link.png"]) {
        await expect(readPairs(writeTable(folder, [good, { ...good, image_a: image }]), folder)).rejects.toThrow(/the first picture: expected a path inside the folder of the table, .*pairs\.jsonl, row 2/);
      }
    }));

  it.each<[string, object | string, RegExp]>([
    ["a label of another kind", { ...good, label: 2 }, /^label: expected 1 or a .*, got "2" \(at .*row 2\)/],
    ["no label", { ...good, label: null }, /^label: expected .*got "null"/],
    ["an empty prompt", { ...good, prompt: " " }, /^prompt: expected a text/],
    ["a picture that is not there", { ...good, image_b: "3.png" }, /^the second picture: expected a file, got "3.png" \(at .*row 2\)/],
    ["a folder as a picture", { ...good, image_b: "." }, /^the second picture: expected a file/],
    ["a picture that is a number", { ...good, image_a: 7 }, /^the first picture: expected a path or the bytes/],
    ["a missing column", { prompt: "a cat", image_a: "1.png", label: 1 }, /^pairs: expected a column image_b or .*got prompt, image_a, label \(at .*row 2\)/],
    ["a probability above 1", { ...good, probability: 1.5 }, /^probability: expected a number from 0 to 1/],
    ["a line that is no object", "[1]", /^pairs: expected a JSON object per line, got "\[1\]" \(at .*:2\)/],
  ])("answers %s with the row and the cure", (_, bad, message) =>
    withTemporaryFolder(async (folder) => {
      const lines = [JSON.stringify(good), typeof bad === "string" ? bad : JSON.stringify(bad)].join("\n");
      await expect(readPairs(writeTable(folder, lines), folder)).rejects.toThrow(message);
    }),
  );

  it.each([
    ["pairs.csv", "prompt,image_a,image_b,label\na caf\u00e9,1.png,2.png,1\n"],
    ["pairs.jsonl", JSON.stringify({ ...good, prompt: "a caf\u00e9" })],
  ])("is UTF-8, or refused: %s", (name, text) =>
    withTemporaryFolder(async (folder) => {
      const path = writeTable(folder, text, name);
      expect((await readPairs(path, folder)).pairs[0]!.prompt).toBe("a caf\u00e9");
      writeFileSync(path, text, "latin1");
      await expect(readPairs(path, folder)).rejects.toMatchObject({ code: "not-utf8", message: expect.stringMatching(/expected UTF-8, got other bytes \(at .*pairs\.(?:csv|jsonl)\)/) as string });
      // Cut within a letter.
      writeFileSync(path, Buffer.concat([Buffer.from(text), Buffer.from([0xc3])]));
      await expect(readPairs(path, folder)).rejects.toMatchObject({ code: "not-utf8" });
    }),
  );

  it("is read to its end, however its lines and letters are cut into parts", () =>
    withTemporaryFolder(async (folder) => {
      const prompts = ["\u00e9\u{1f98a}".repeat(2000), ...Array.from({ length: 200 }, (_, i) => `${i} ${"\u{1f98a}".repeat(400)}`), "the last"];
      const path = writeTable(folder, prompts.map((prompt) => JSON.stringify({ ...good, prompt })).join("\r\n"));
      expect((await readPairs(path, folder)).pairs.map(({ prompt }) => prompt)).toEqual(prompts);
    }));

  it("needs rows, and a kind of file that is known", () =>
    withTemporaryFolder(async (folder) => {
      await expect(readPairs(writeTable(folder, []), folder)).rejects.toMatchObject({ code: "pairs-empty" });
      await expect(readPairs(writeTable(folder, [good], "pairs.txt"), folder)).rejects.toMatchObject({ code: "pairs-file" });
      await expect(readPairs(writeTable(folder, "no parquet", "pairs.parquet"), folder)).rejects.toMatchObject({ code: "parquet-damaged" });
      await expect(readPairs(join(folder, "none.csv"), folder)).rejects.toMatchObject({ code: "path-missing" });
    }));
});

describe("the split by prompts", () => {
  const pair = (prompt: string): Pair => ({ prompt, first: "", second: "", isCopied: false, label: 1, probability: undefined, where: "" });

  it("puts no prompt on both sides, holds out about the share, and does not depend on the order", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 40, maxLength: 80 }), fc.integer({ min: 0, max: 99 }), (numbers, seed) => {
        fc.pre(new Set(numbers).size > 6);
        const pairs = numbers.map((n) => pair(`prompt ${n}`));
        const promptsOf = (part: readonly Pair[]): string[] => [...new Set(part.map(({ prompt }) => prompt))].sort();
        const { training, heldOut } = splitByPrompt(pairs, 0.1, seed);
        expect(training.length + heldOut.length).toBe(pairs.length);
        expect(promptsOf(training).filter((prompt) => promptsOf(heldOut).includes(prompt))).toEqual([]);
        expect(heldOut.length).toBeGreaterThanOrEqual(0.1 * pairs.length);
        expect(promptsOf(splitByPrompt(pairs.toReversed(), 0.1, seed).heldOut)).toEqual(promptsOf(heldOut));
      }),
    );
  });

  it("needs two prompts", () => {
    expect(() => splitByPrompt([pair("a"), pair("a")], 0.5, 0)).toThrow(/expected prompts for both parts, got 1 different prompt/);
  });
});
