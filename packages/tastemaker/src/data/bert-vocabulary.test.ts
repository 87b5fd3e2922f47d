import { BertTokenizer } from "@tastemaker/diffusion";
import { describe, expect, it } from "vitest";
import { drawScene } from "../worlds/emoji/draw-scene.ts";
import { printCaption } from "../worlds/emoji/scene.ts";
import { longestCaption, worldBertVocabulary } from "../worlds/emoji/tokenizer.ts";
import { vocabularyWords } from "../worlds/emoji/vocabulary.ts";
import { bertVocabulary, countBertWords } from "./bert-vocabulary.ts";

const linesOf = (text: string): string[] => text.trimEnd().split("\n");

describe("a BERT vocabulary made from captions", () => {
  it("holds every word of the world as one token, so that no caption is longer than the longest", () => {
    const tokenizer = new BertTokenizer(worldBertVocabulary());
    const ids = vocabularyWords().map((word) => tokenizer.tokenIds(word));
    expect(ids.every(({ length }) => length === 3)).toBe(true);
    expect(new Set(ids.map(([, id]) => id)).size).toBe(vocabularyWords().length);
    const lengths = Array.from({ length: 2000 }, (_, index) => tokenizer.tokenIds(printCaption(drawScene("training", { seed: 1, stream: "test", index }))).length);
    expect(lengths.reduce((a, b) => Math.max(a, b))).toBe(longestCaption);
  });

  it("knows every caption it was made from, also the words that are too rare to be whole, and any plain text", () => {
    const captions = ["Ein Schloß über dem Fluß, früh!", "猫 on a sofa; a cat on a mat", "naïve «robots» (2 of them)"];
    const text = bertVocabulary(countBertWords(captions), 4);
    const tokenizer = new BertTokenizer(text);
    const unknown = linesOf(text).indexOf("[UNK]");
    for (const caption of [...captions, "Zebra_77 <xyz@example.org> ~{}|"]) expect(tokenizer.tokenIds(caption), caption).not.toContain(unknown);
    expect(linesOf(text).slice(0, 5)).toEqual(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
    expect(linesOf(text).slice(-4)).toEqual(["on", "cat", "dem", "ein"]);
  });

  it("depends on the counts alone", () => {
    expect(bertVocabulary(countBertWords(["b a", "c"]))).toBe(bertVocabulary(countBertWords(["c b", "a"])));
  });
});
