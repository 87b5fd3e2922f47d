import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { memoryFile, memoryFolder, type RandomAccessFile } from "../files/random-access-file.ts";
import { readSafetensorsHeader, readTensor } from "../files/safetensors.ts";
import { openTokenizer, TOKENIZER_KINDS, type TokenizerKind } from "./open-tokenizer.ts";
import type { TokenizerSource } from "./tokenizer-files.ts";
import type { EncodedTexts } from "./tokenizer.ts";

type ClipKind = Exclude<TokenizerKind, "bert">;
interface BertCases {
  readonly length: number;
  readonly cases: readonly { readonly text: string; readonly ids: readonly number[]; readonly tokens: number }[];
}
interface Golden {
  readonly clip: { readonly cases: readonly (Readonly<Record<ClipKind, readonly number[] | "openai">> & { readonly text: string })[] };
  readonly bert: BertCases;
  readonly bert_tiny: BertCases;
}

const root = sharedPath("golden/rewards");
const fileOf = (path: string): RandomAccessFile => memoryFile(path, readFileSync(path));
const clipVocabulary = (): RandomAccessFile => fileOf(sharedPath("data/tokenizers/bpe_simple_vocab_16e6.txt.gz")!);

describe.skipIf(root === undefined)("openTokenizer gives the reference ids", () => {
  const golden = root === undefined ? undefined : (JSON.parse(readFileSync(`${root}/tokenizers.json`, "utf8")) as Golden);

  for (const kind of TOKENIZER_KINDS.filter((name) => name !== "bert")) {
    it(`of every text, as ${kind}`, { timeout: 60_000 }, async () => {
      const tokenizer = await openTokenizer(kind, clipVocabulary());
      expect([tokenizer.startId, tokenizer.endId, tokenizer.vocabularySize]).toEqual([49406, 49407, 49408]);
      expect(golden!.clip.cases.length).toBeGreaterThan(50);
      for (const reference of golden!.clip.cases) {
        const expected = reference[kind] === "openai" ? reference.openai : reference[kind];
        expect(tokenizer.tokenIds(reference.text), JSON.stringify(reference.text)).toEqual(expected);
      }
    });
  }

  it.each([
    ["bert", "data/tokenizers/bert-base-uncased-vocab.txt", 30524],
    ["bert_tiny", "golden/rewards/bert_tiny_vocab.txt", undefined],
  ] as const)("of every text, as %s", async (name, vocabulary, size) => {
    const tokenizer = await openTokenizer("bert", fileOf(sharedPath(vocabulary)!));
    if (size !== undefined) expect(tokenizer.vocabularySize).toBe(size);
    const { cases, length } = golden![name];
    for (const { text, ids, tokens } of cases) {
      const encoded = tokenizer.encode([text], length);
      expect([...encoded.ids], JSON.stringify(text)).toEqual(ids);
      expect(encoded.mask.reduce((sum, value) => sum + value, 0), JSON.stringify(text)).toBe(tokens);
    }
  });

  const folderOf = (path: string): TokenizerSource => memoryFolder(path, new Map(["vocab.json", "merges.txt", "tokenizer.json"].map((name) => [name, readFileSync(`${path}/${name}`)])));
  const rewards: readonly (readonly [model: string, tensor: string, kind: TokenizerKind, source: (path: string) => TokenizerSource])[] = [
    ["hpsv2", "input_ids", "open_clip", (path) => fileOf(`${path}/bpe_tiny.txt.gz`)],
    ["clipscore", "input_ids", "openai", (path) => fileOf(`${path}/bpe_tiny.txt.gz`)],
    ["clipscore", "input_ids", "openai", (path) => folderOf(`${path}/hf`)],
    ["clipscore", "hf.input_ids", "hf_fast", (path) => folderOf(`${path}/hf`)],
    ["pickscore", "input_ids", "hf_fast", (path) => folderOf(`${path}/model`)],
    ["blip", "input_ids", "bert", (path) => fileOf(`${path}/vocab.txt`)],
    ["imagereward", "input_ids", "bert", (path) => fileOf(`${path}/vocab.txt`)],
  ];
  it.each(rewards)("of the prompts of %s (%s, %s)", async (model, tensor, kind, source) => {
    const { prompts } = JSON.parse(readFileSync(`${root}/${model}/config.json`, "utf8")) as { prompts: string[] };
    const inputs = fileOf(`${root}/${model}/inputs.safetensors`);
    const { tensors } = await readSafetensorsHeader(inputs);
    const numbersOf = async (name: string): Promise<number[]> => Array.from(await readTensor(inputs, tensors.get(name)!), Number);
    const [rows, length] = tensors.get(tensor)!.shape;
    const tokenizer = await openTokenizer(kind, source(`${root}/${model}`));
    const encoded: EncodedTexts = tokenizer.encode(prompts, length);
    expect(encoded.shape).toEqual([rows, length]);
    expect([...encoded.ids]).toEqual(await numbersOf(tensor));
    if (tensors.has("attention_mask") && kind !== "openai") expect([...encoded.mask]).toEqual(await numbersOf("attention_mask"));
  });
});
