import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClipTokenizer, clipTokenizerJson } from "@tastemaker/diffusion";
import { describe, expect, it } from "vitest";
import { worldBpe, worldContextLength } from "../worlds/emoji/tokenizer.ts";
import { vocabularyWords } from "../worlds/emoji/vocabulary.ts";
import { clipTokenizerFiles, countWords, trainClipBpe, writeClipTokenizer } from "./clip-bpe.ts";

function open(files: Record<string, string>): ClipTokenizer {
  const config = JSON.parse(files["tokenizer_config.json"]!);
  return new ClipTokenizer(
    clipTokenizerJson(JSON.parse(files["vocab.json"]!), files["merges.txt"]!),
    config,
  );
}

describe("the CLIP vocabulary of the emoji world", () => {
  const files = clipTokenizerFiles(worldBpe(), worldContextLength);
  const tokenizer = open(files);

  it("holds every word of the grammar as one token, each its own", () => {
    const words = vocabularyWords();
    const { ids } = tokenizer.encode(words, 3);
    const own = new Set<number>();
    for (const i of words.keys()) {
      expect([ids[3 * i], ids[3 * i + 2]], words[i]).toEqual([tokenizer.startId, tokenizer.endId]);
      own.add(ids[3 * i + 1]!);
    }
    expect(tokenizer.encode(words, 3).truncated).not.toContain(true);
    expect(own.size).toBe(words.length);
  });

  it("pools at the end: the end token has the largest id and the vocabulary no gaps", () => {
    const ids = Object.values(worldBpe().vocab).toSorted((a, b) => a - b);
    expect(ids).toEqual(ids.map((_, i) => i));
    expect(tokenizer.endId).toBe(ids.length - 1);
    expect(tokenizer.maxLength).toBe(worldContextLength);
    expect(ids.length).toBeLessThan(900);
  });

  it("takes the longest caption whole and any other text without unknown tokens", () => {
    const longest =
      "an elephant next to an umbrella on an orange to purple background, glossy style";
    expect(tokenizer.encode([longest]).truncated).toEqual([false]);
    const ids = [...tokenizer.encode(["Łódź 🦊 3d"], 40).ids];
    expect(ids.indexOf(tokenizer.endId)).toBeGreaterThan(8);
  });

  it("is the same every time", () => {
    expect(clipTokenizerFiles(worldBpe(), worldContextLength)).toEqual(files);
  });
});

describe("byte-pair training", () => {
  it("merges the most frequent pair first and stops at the limit", () => {
    const counts = countWords(["the theme", "The other, the"]);
    expect(counts.get("the")).toBe(3);
    expect(trainClipBpe(counts, 1).merges).toEqual([["t", "h"]]);
    const full = open(clipTokenizerFiles(trainClipBpe(counts), 8));
    expect(full.encode(["the theme other ,"]).truncated).toEqual([false]);
  });

  it("writes the files of a diffusers tokenizer folder", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tokenizer-"));
    await writeClipTokenizer(join(folder, "tokenizer"), worldBpe(), 20);
    expect(await readFile(join(folder, "tokenizer", "merges.txt"), "utf8")).toMatch(
      /^#version: 0\.2\n/,
    );
    await rm(folder, { recursive: true });
  });
});
