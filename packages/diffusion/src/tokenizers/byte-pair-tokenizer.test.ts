import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memoryFile, memoryFolder } from "../files/random-access-file.ts";
import { openBpeTokenizer, readBytePairs, type BytePairKind } from "./byte-pair-tokenizer.ts";
import { bytePairsOfMerges, byteSymbols, type BytePairs } from "./byte-pairs.ts";
import { WordEncoder } from "./merge-pairs.ts";

const kinds: readonly BytePairKind[] = ["openai", "open_clip", "hf_slow_ftfy", "hf_slow_no_ftfy"];
const list = '"tiny#version: 0.2\nt h\nth e</w>\nc a\nca t</w>\n! !\n! !</w>\n!! !!</w>';
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const file = (text: string): ReturnType<typeof memoryFile> => memoryFile("/merges.txt", bytes(text));
const open = (kind: BytePairKind, text = list): ReturnType<typeof openBpeTokenizer> => openBpeTokenizer(file(text), kind);

/** Merges in the plain way: again and again the pair of lowest rank, everywhere. */
function mergeSlowly({ ids, merges }: BytePairs, word: Uint8Array): number[] {
  let tokens = Array.from(word, (byte, index) => byteSymbols[byte]! + (index === word.length - 1 ? "</w>" : ""));
  const ranks = new Map(merges.map((pair, rank) => [pair.join(" "), rank]));
  for (;;) {
    const known = tokens.slice(1).map((right, index) => ranks.get(`${tokens[index]} ${right}`) ?? Infinity);
    const rank = Math.min(...known);
    if (rank === Infinity) return tokens.map((token) => ids.get(token)!);
    const [left, right] = merges[rank]!;
    const next: string[] = [];
    for (let i = 0; i < tokens.length; i++) {
      const isPair = tokens[i] === left && tokens[i + 1] === right;
      next.push(isPair ? left + right : tokens[i]!);
      if (isPair) i++;
    }
    tokens = next;
  }
}

describe("WordEncoder", () => {
  it("gives the tokens of the plain way, for random vocabularies and words", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 24 }), fc.array(fc.array(fc.constantFrom(..."abc"), { maxLength: 40 }), { minLength: 1, maxLength: 5 }), (choices, words) => {
        const tokens = ["a", "b", "c", "a</w>", "b</w>", "c</w>"];
        const merges = choices.map(([i, j]) => {
          const starts = tokens.filter((token) => !token.endsWith("</w>"));
          const pair = [starts[i % starts.length]!, tokens[j % tokens.length]!];
          tokens.push(pair.join(""));
          return pair.join(" ");
        });
        const pairs = bytePairsOfMerges(["#version: 0.2", ...merges].join("\n"), "test");
        const encoder = new WordEncoder(pairs);
        for (const word of words) expect(encoder.encode(bytes(word.join("")))).toEqual(mergeSlowly(pairs, bytes(word.join(""))));
      }),
      { numRuns: 500, seed: 5 },
    );
  });

  it("takes a word of a quarter of a million bytes", () => {
    const encoder = new WordEncoder(bytePairsOfMerges("#version\na a\naa aa\naa aa</w>\na a</w>", "test"));
    expect(encoder.encode(bytes("a".repeat(250_000)))).toHaveLength(62_500);
    expect(encoder.encode(bytes(""))).toEqual([]);
  });
});

describe("BytePairTokenizer", () => {
  it("numbers bytes, merges, start and end as the list implies, and a line feed at its end as a token", async () => {
    const tokenizer = await open("openai");
    expect([tokenizer.startId, tokenizer.endId, tokenizer.padId, tokenizer.vocabularySize, tokenizer.maxLength]).toEqual([519, 520, 0, 521, 77]);
    expect(tokenizer.tokenIds("The CAT!!!!")).toEqual([519, 513, 515, 518, 520]);
    expect((await open("openai", `${list}\n`)).startId).toBe(520);
    expect((await open("openai", list.replaceAll("\n", "\r\n"))).startId).toBe(519);
  });

  it("cuts with the end token last and pads with 0, or with the end token in Hugging Face's kinds", async () => {
    const openai = (await open("openai")).encode(["the cat", "the cat the cat"], 5);
    expect([...openai.ids]).toEqual([519, 513, 515, 520, 0, 519, 513, 515, 513, 520]);
    expect([...openai.mask]).toEqual([1, 1, 1, 1, 0, 1, 1, 1, 1, 1]);
    expect(openai).toMatchObject({ shape: [2, 5], truncated: [false, true] });
    expect([...(await open("hf_slow_ftfy")).encode(["the"], 4).ids]).toEqual([519, 513, 520, 520]);
  });

  it("knows the special tokens of its kind", async () => {
    const special = [519, 519, 520, 520];
    for (const kind of kinds) {
      const tokenizer = await open(kind);
      const bars = tokenizer.tokenIds("<|startoftext|><|endoftext|>");
      const underscores = tokenizer.tokenIds("<start_of_text> <END_OF_TEXT>");
      expect(kind === "open_clip" ? underscores : bars).toEqual(special);
      expect((kind === "open_clip" ? bars : underscores).length).toBeGreaterThan(20);
    }
    // Written with ſ it is one word, but not the token.
    expect((await open("openai")).tokenIds("<|ſtartoftext|>")).toHaveLength(2 + 16);
  });

  it("cleans as its kind does", async () => {
    const idsOf = async (text: string): Promise<(readonly number[])[]> => Promise.all(kinds.map(async (kind) => (await open(kind)).tokenIds(text)));
    const [cat, the] = [[519, 515, 520], [519, 513, 520]];
    expect(await idsOf("  \u3000CAT\n")).toEqual([cat, cat, cat, cat]);
    // Full width is repaired by ftfy alone, ZERO WIDTH JOINER dropped by BERT's cleaning alone.
    expect((await idsOf("ｃａｔ")).map((ids) => ids.length === 3)).toEqual([true, true, true, false]);
    expect((await idsOf("c\u200dat")).map((ids) => ids.length === 3)).toEqual([false, false, false, true]);
    // Entities: the first two read all of HTML's.
    expect(await idsOf("&#116;he")).toEqual([the, the, the, expect.anything()]);
    expect((await idsOf("&ampthe")).map((ids) => ids.length)).toEqual([4, 4, 7, 7]);
  });

  it("gives ids of the vocabulary for any text, also for half surrogate pairs", async () => {
    for (const kind of kinds) {
      const tokenizer = await open(kind);
      fc.assert(
        fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.array(fc.nat({ max: 0xffff })).map((units) => String.fromCharCode(...units))), (text) => {
          const ids = tokenizer.tokenIds(text);
          expect(ids.at(0)).toBe(tokenizer.startId);
          expect(ids.at(-1)).toBe(tokenizer.endId);
          expect(ids.every((id) => id >= 0 && id < tokenizer.vocabularySize)).toBe(true);
          expect(tokenizer.tokenIds(` ${text}\n`)).toEqual(ids);
        }),
        { numRuns: 300, seed: 3 },
      );
    }
  });
});

describe("readBytePairs", () => {
  const folderOf = (files: Record<string, string>): ReturnType<typeof memoryFolder> => memoryFolder("/model", new Map(Object.entries(files).map(([name, text]) => [name, bytes(text)])));
  const listed = bytePairsOfMerges(list, "list");
  const vocab = Object.fromEntries(listed.ids);
  const merges = listed.merges.map((pair) => pair.join(" "));

  it("reads the same vocabulary from a zipped list, from vocab.json with merges.txt and from tokenizer.json", async () => {
    const sources = [
      memoryFile("/bpe.txt.gz", gzipSync(list)),
      folderOf({ "vocab.json": JSON.stringify(vocab), "merges.txt": `#version: 0.2\n${merges.join("\n")}\n` }),
      folderOf({ "tokenizer.json": JSON.stringify({ model: { type: "BPE", vocab, merges } }) }),
      memoryFile("/tokenizer.json", bytes(JSON.stringify({ model: { type: "BPE", vocab, merges: listed.merges } }))),
    ];
    for (const source of sources) expect(await readBytePairs(source)).toEqual(listed);
  });

  it.each([
    ["another text", "a b\nc d", /first line with "#version"/],
    ["three parts", "#version\na b c", /two parts separated by a space, got "a b c" \(at merge 1 of/],
    ["an empty line between", "#version\na b\n\nb c", /two parts/],
    ["parts that do not exist", "#version\na b\nxy z", /tokens of the vocabulary, got "xy" \(at merge 2 of/],
    ["JSON without a model", '{"a": 1}', /a vocab\.json needs its merges\.txt/],
    ["another model", '{"model": {"type": "WordPiece"}}', /expected byte-pair encoding, got WordPiece/],
    ["nothing", "", /#version/],
  ])("refuses %s with one message", async (_, text, message) => {
    await expect(readBytePairs(file(text))).rejects.toMatchObject({ name: "UsageError" });
    await expect(readBytePairs(file(text))).rejects.toThrow(message);
  });

  it("refuses ids that are no numbers, a vocabulary without all bytes, and a folder without files", async () => {
    const files = (changed: object): Record<string, string> => ({ "vocab.json": JSON.stringify(changed), "merges.txt": "#version: 0.2\nt h" });
    await expect(readBytePairs(folderOf(files({ ...vocab, th: 1e12 })))).rejects.toThrow(/whole number/);
    await expect(readBytePairs(folderOf(files({ th: 1 })))).rejects.toThrow(/a token for every byte/);
    await expect(readBytePairs(folderOf({ "vocab.json": JSON.stringify(vocab) }))).rejects.toThrow(/merges\.txt/);
    await expect(readBytePairs(folderOf({}))).rejects.toThrow(/vocab\.json or tokenizer\.json or bpe_simple_vocab_16e6\.txt\.gz, got none/);
  });

  it("refuses damaged zips, and small ones that unpack to more than 64 MiB", async () => {
    const zipped = gzipSync(list);
    await expect(readBytePairs(memoryFile("/bpe.txt.gz", zipped.subarray(0, zipped.length - 9)))).rejects.toMatchObject({ code: "gzip-damaged" });
    await expect(readBytePairs(memoryFile("/bpe.txt.gz", gzipSync(Buffer.alloc(70 * 2 ** 20), { level: 9 })))).rejects.toMatchObject({ code: "tokenizer-size" });
    await expect(readBytePairs(memoryFile("/bpe.txt", Buffer.from([0xff, 0xfe])))).rejects.toMatchObject({ code: "not-utf8" });
  });
});
