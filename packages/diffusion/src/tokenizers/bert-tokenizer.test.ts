import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memoryFile, memoryFolder } from "../files/random-access-file.ts";
import { BertTokenizer, openBertTokenizer } from "./bert-tokenizer.ts";

const lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "cafe", "!", "猫", "σ", "##σ", "i", "[", "]", "cls"];
const tokenizer = new BertTokenizer(`${lines.join("\n")}\n`);
const tokensOf = (text: string): string[] => tokenizer.tokenIds(text).slice(1, -1).map((id) => lines[id] ?? `${id}`);

describe("BertTokenizer", () => {
  it("takes the longest pieces, and one unknown token for a word that they do not cover or that has more than 100 characters", () => {
    expect(tokensOf("unaffable UNAFF unaffx")).toEqual(["un", "##aff", "##able", "un", "##aff", "[UNK]"]);
    expect(tokensOf(`σ${"σ".repeat(99)}`)).toHaveLength(100);
    expect(tokensOf(`σ${"σ".repeat(100)}`)).toEqual(["[UNK]"]);
    expect(tokensOf("😀".repeat(101))).toEqual(["[UNK]"]);
  });

  it("lower-cases each character, drops accents and control characters, and splits punctuation and ideographs", () => {
    expect(tokensOf("Café cafe\u0301! ca\u200bf\0e")).toEqual(["cafe", "cafe", "!", "cafe"]);
    expect(tokensOf("猫猫un猫")).toEqual(["猫", "猫", "un", "猫"]);
    expect(tokensOf("ΣΣ İ")).toEqual(["σ", "##σ", "i"]);
    expect(tokensOf("\u3000un\u2028un\u00a0un\u0085un")).toEqual(["un", "un", "[UNK]"]);
  });

  it("recognises special tokens as they are written, with [DEC] and [ENC] after the vocabulary", () => {
    expect(tokensOf("[CLS]un[MASK][cls]")).toEqual(["[CLS]", "un", "[MASK]", "[", "cls", "]"]);
    expect(tokenizer.tokenIds("[DEC] [ENC]")).toEqual([2, 17, 18, 3]);
    expect([tokenizer.decId, tokenizer.encId, tokenizer.vocabularySize, tokenizer.maxLength]).toEqual([17, 18, 19, 35]);
  });

  it("cuts and pads with a mask", () => {
    const { ids, mask, truncated } = tokenizer.encode(["un", "un un un un"], 4);
    expect([...ids]).toEqual([2, 5, 3, 0, 2, 5, 5, 3]);
    expect([...mask]).toEqual([1, 1, 1, 0, 1, 1, 1, 1]);
    expect(truncated).toEqual([false, true]);
  });

  it("gives ids of the vocabulary for any text", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 0xffff })), (units) => {
        const ids = tokenizer.tokenIds(String.fromCharCode(...units));
        expect(ids.every((id) => id >= 0 && id < tokenizer.vocabularySize)).toBe(true);
      }),
      { numRuns: 500, seed: 2 },
    );
  });

  it("is opened from a file or a folder, and refuses a vocabulary without its tokens or with one twice", async () => {
    const bytes = new TextEncoder().encode(lines.join("\r\n"));
    expect((await openBertTokenizer(memoryFile("/vocab.txt", bytes))).encId).toBe(18);
    expect((await openBertTokenizer(memoryFolder("/bert", new Map([["vocab.txt", bytes]])))).encId).toBe(18);
    await expect(openBertTokenizer(memoryFolder("/bert", new Map()))).rejects.toThrow(/vocab\.txt, got none/);
    expect(() => new BertTokenizer("a\nb")).toThrow(/the token "\[PAD\]", got none/);
    expect(() => new BertTokenizer(`${lines.join("\n")}\nun`)).toThrow(/got "un" in lines 6 and 18/);
  });
});
