import { existsSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { UsageError } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { memoryFolder, type Folder } from "../files/random-access-file.ts";
import { byteSymbols, endOfWord, endToken, startToken } from "./byte-pairs.ts";
import { ClipTokenizer, clipTokenizerJson, openClipTokenizer } from "./clip-tokenizer.ts";

interface Row {
  readonly text: string;
  readonly ids: number[];
}

const root = sharedPath("golden");
const readGolden = <T>(path: string): T => JSON.parse(readFileSync(`${root}/${path}`, "utf8")) as T;

/** The tokenizer files of a golden model; `legacy` leaves `tokenizer.json` out. */
function modelFolder(path: string, legacy = false): Folder {
  const names = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"].filter((name) => !legacy || name !== "tokenizer.json");
  return memoryFolder(path, new Map(names.map((name) => [name, readFileSync(`${root}/diffusion/models/${path}/${name}`)])));
}

/** CLIP's real vocabulary, rebuilt from the merges that OpenAI published: bytes, bytes at word ends, merges, two special tokens. */
function fullTokenizer(): ClipTokenizer {
  const lines = gunzipSync(readFileSync(sharedPath("data/tokenizers/bpe_simple_vocab_16e6.txt.gz")!)).toString("utf8").split("\n");
  const merges = lines.slice(1, 49152 - 256 - 2 + 1);
  const printable = [...Array(94).keys()].map((i) => i + 33).concat([...Array(12).keys()].map((i) => i + 161), [...Array(82).keys()].map((i) => i + 174));
  const others = [...Array(256).keys()].filter((byte) => !printable.includes(byte)).map((_, i) => 256 + i);
  const bytes = [...printable, ...others].map((code) => String.fromCharCode(code));
  const tokens = [...bytes, ...bytes.map((byte) => `${byte}</w>`), ...merges.map((line) => line.replace(" ", "")), "<|startoftext|>", "<|endoftext|>"];
  return new ClipTokenizer(clipTokenizerJson(Object.fromEntries(tokens.map((token, id) => [token, id])), ["#version: 0.2", ...merges, ""].join("\n")));
}

describe.skipIf(root === undefined)("ClipTokenizer gives the reference ids", () => {
  const golden = root === undefined ? {} : readGolden<Record<string, { length: number; rows: Row[] }>>("diffusion/tokenizer.json");
  for (const legacy of [false, true]) {
    for (const model of ["tiny-lcm", "tiny-sd"]) {
      it(`of ${model} from ${legacy ? "vocab.json and merges.txt" : "tokenizer.json"}`, async () => {
        const tokenizer = await openClipTokenizer(modelFolder(`${model}/tokenizer`, legacy));
        const { length, rows } = golden[model]!;
        expect(tokenizer.maxLength).toBe(length);
        const { ids, shape } = tokenizer.encode(rows.map(({ text }) => text));
        expect(shape).toEqual([rows.length, length]);
        for (const [i, row] of rows.entries()) expect([...ids.slice(i * length, (i + 1) * length)], row.text).toEqual(row.ids);
      });
    }
  }

  it("of tiny-pickscore, whose tokenizer lies beside its weights", async () => {
    const tokenizer = await openClipTokenizer(modelFolder("tiny-pickscore"));
    const { rows } = golden["tiny-lcm"]!;
    for (const row of rows) expect([...tokenizer.encode([row.text], 20).ids], row.text).toEqual(row.ids);
  });

  it("of the full vocabulary, also for hostile texts", { timeout: 60_000 }, () => {
    if (!existsSync(sharedPath("data/tokenizers/bpe_simple_vocab_16e6.txt.gz")!)) throw new Error("the merges of CLIP are missing in shared/data/tokenizers");
    const tokenizer = fullTokenizer();
    expect([tokenizer.startId, tokenizer.endId, tokenizer.padId, tokenizer.vocabularySize]).toEqual([49406, 49407, 49407, 49408]);
    for (const row of golden["full-vocabulary"]!.rows) expect([...tokenizer.encode([row.text], 77).ids], row.text).toEqual(row.ids);
    const { cases } = readGolden<{ clip: { cases: { text: string; openai: number[]; hf_fast: number[] | "openai" }[] } }>("rewards/tokenizers.json").clip;
    for (const { text, openai, hf_fast } of cases) {
      const expected = hf_fast === "openai" ? openai : hf_fast;
      expect([...tokenizer.encode([text], expected.length).ids], JSON.stringify(text)).toEqual(expected);
    }
  });

  it("keeps the end token and says so when a prompt of 10,000 characters is cut; an empty prompt is start and end", async () => {
    const tokenizer = await openClipTokenizer(modelFolder("tiny-sd/tokenizer"));
    const { ids, truncated } = tokenizer.encode(["fox ".repeat(2500), "x".repeat(10_000), "", "fox"]);
    expect(truncated).toEqual([true, true, false, false]);
    expect([ids[0], ids[76], ids[77], ids[153]]).toEqual([tokenizer.startId, tokenizer.endId, tokenizer.startId, tokenizer.endId]);
    expect([...ids.slice(154, 157)]).toEqual([tokenizer.startId, tokenizer.endId, tokenizer.padId]);
    expect([...tokenizer.encode(["fox"], 2).ids]).toEqual([tokenizer.startId, tokenizer.endId]);
    expect(() => tokenizer.encode(["fox"], 1)).toThrow(UsageError);
  });

  it("lower-cases a final capital sigma to σ, as the reference does", async () => {
    const tokenizer = await openClipTokenizer(modelFolder("tiny-sd/tokenizer"));
    expect(tokenizer.encode(["ΟΔΟΣ"]).ids).toEqual(tokenizer.encode(["οδοσ"]).ids);
    expect(tokenizer.encode(["ΟΔΟΣ"]).ids).not.toEqual(tokenizer.encode(["οδος"]).ids);
  });
});

it("ClipTokenizer parts words at Unicode's white space, which U+0085 is and U+FEFF is not", () => {
  const tokens = [...byteSymbols, ...byteSymbols.map((symbol) => symbol + endOfWord), startToken, endToken];
  const tokenizer = new ClipTokenizer(clipTokenizerJson(Object.fromEntries(tokens.map((token, id) => [token, id])), ""));
  const word = (text: string): number[] => [...new TextEncoder().encode(text)].map((byte, i, bytes) => (i === bytes.length - 1 ? 256 + byte : byte));
  expect(tokenizer.tokenIds(";\ufeff!")).toEqual([tokenizer.startId, ...word(";\ufeff!"), tokenizer.endId]);
  expect(tokenizer.tokenIds("\ufeffcat\u0085;")).toEqual([tokenizer.startId, ...word("\ufeff"), ...word("cat"), ...word(";"), tokenizer.endId]);
});

describe("ClipTokenizer refuses", () => {
  it("a vocabulary without CLIP's special tokens", () => {
    expect(() => clipTokenizerJson({ a: 0 }, "")).toThrow(/expected the token "<\|startoftext\|>"/);
  });
  it("merges with three parts and ids that are not numbers", () => {
    const vocabulary = { "<|startoftext|>": 0, "<|endoftext|>": 1 };
    expect(() => clipTokenizerJson(vocabulary, "#version: 0.2\na b c\n")).toThrow(/expected two parts, got "a b c"/);
    expect(() => clipTokenizerJson({ ...vocabulary, x: "1" }, "")).toThrow(UsageError);
    expect(() => clipTokenizerJson({ ...vocabulary, x: 10 ** 9 }, "")).toThrow(/expected a whole number below 16777216 for "x", got 1000000000/);
    const complete = clipTokenizerJson(vocabulary, "");
    const added = { id: 10 ** 9, content: "far", single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
    expect(() => new ClipTokenizer({ ...complete, added_tokens: [...(complete["added_tokens"] as readonly object[]), added] })).toThrow(/for "far", got 1000000000/);
  });
  it("another kind of tokenizer", () => {
    expect(() => new ClipTokenizer({ model: { type: "WordPiece" } })).toThrow(/expected CLIP's byte-pair encoding/);
    expect(() => new ClipTokenizer({})).toThrow(UsageError);
  });
  it("a folder without tokenizer files", async () => {
    await expect(openClipTokenizer(memoryFolder("/empty", new Map()))).rejects.toThrow(/\/empty\/vocab\.json/);
  });
});
