import { UsageError } from "@tastemaker/tensor";
import { asJsonObject, parseJson } from "../files/random-access-file.ts";

type JsonObject = Readonly<Record<string, unknown>>;

/** CLIP's vocabulary: bytes, bytes at the end of a word, and what pairs of tokens merge to. */
export interface BytePairs {
  /** Token → id, with `</w>` at the end of a word's last token. */
  readonly ids: ReadonlyMap<string, number>;
  /** Pairs in the order in which they are merged. */
  readonly merges: readonly (readonly [string, string])[];
  /** Number of ids. */
  readonly size: number;
  readonly startId: number;
  readonly endId: number;
}

export const endOfWord = "</w>";
export const startToken = "<|startoftext|>";
export const endToken = "<|endoftext|>";

/** CLIP has this many merges; a longer list is cut, as CLIP's own tokenizer cuts the file it was published with. */
const maximumMerges = 49152 - 256 - 2;

const isPrintable = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

/** A printable character for each byte: its own where it has one, else one from U+0100 on. */
export const byteSymbols: readonly string[] = (() => {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
})();

function parseMerges(lines: readonly string[], where: string): (readonly [string, string])[] {
  return lines.map((line, index) => {
    const [left, right, ...others] = line.split(" ");
    if (left === undefined || right === undefined || left === "" || right === "" || others.length > 0) {
      throw new UsageError("tokenizer-merges", `merges: expected two parts separated by a space, got "${line.slice(0, 40)}" (at merge ${index + 1} of ${where})`, "this is not a list of CLIP's merges");
    }
    return [left, right];
  });
}

function checkMerges({ ids, merges }: Pick<BytePairs, "ids" | "merges">, where: string): void {
  for (const symbol of byteSymbols) {
    for (const token of [symbol, symbol + endOfWord]) {
      if (!ids.has(token)) throw new UsageError("tokenizer-vocabulary", `vocabulary: expected a token for every byte, got none for "${token}" (at ${where})`, "this is not a CLIP vocabulary");
    }
  }
  for (const [index, [left, right]] of merges.entries()) {
    for (const token of [left, right, left + right]) {
      if (!ids.has(token)) throw new UsageError("tokenizer-merges", `merges: expected tokens of the vocabulary, got "${token.slice(0, 40)}" (at merge ${index + 1} of ${where})`, "vocabulary and merges belong to different models");
    }
  }
}

/**
 * The vocabulary of OpenAI's list of merges (`bpe_simple_vocab_16e6.txt`, unzipped), which implies the ids: 256 bytes, 256 bytes at a word's end, one per
 * merge, start, end. The first line is a title. Throws `UsageError` when it is no such list.
 */
export function bytePairsOfMerges(text: string, where: string): BytePairs {
  const [title, ...lines] = text.split(/\r?\n/);
  if (!title!.includes("#version")) throw new UsageError("tokenizer-merges", `merges: expected a first line with "#version", got "${title!.slice(0, 40)}" (at ${where})`, "this is not a list of CLIP's merges");
  const listed = lines.slice(0, maximumMerges);
  // A line feed at the end of a short list counts as one more token, as in CLIP's own tokenizer: models trained with such a list have its id.
  const hasEmptyToken = listed.at(-1) === "";
  const merges = parseMerges(hasEmptyToken ? listed.slice(0, -1) : listed, where);
  const bytes = [...byteSymbols.filter((_, byte) => isPrintable(byte)), ...byteSymbols.filter((_, byte) => !isPrintable(byte))];
  const tokens = [...bytes, ...bytes.map((symbol) => symbol + endOfWord), ...merges.map((pair) => pair.join("")), ...(hasEmptyToken ? [""] : []), startToken, endToken];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  checkMerges({ ids, merges }, where);
  return { ids, merges, size: tokens.length, startId: tokens.length - 2, endId: tokens.length - 1 };
}

/** The vocabulary of Hugging Face's `vocab.json` and `merges.txt`. Throws `UsageError` when they are not CLIP's or do not fit together. */
export function bytePairsOfVocabulary(vocabulary: JsonObject, merges: string, where: string): BytePairs {
  const lines = merges.trim().split(/\r?\n/);
  return joinVocabulary(vocabulary, parseMerges((lines[0]!.startsWith("#version") ? lines.slice(1) : lines).slice(0, maximumMerges), `the merges beside ${where}`), where);
}

/** The vocabulary in a `tokenizer.json`. Throws `UsageError` when it is not CLIP's. */
export function bytePairsOfTokenizerJson(text: string, where: string): BytePairs {
  const model = modelOf(asJsonObject(parseJson(text, where), where), where);
  const merges: unknown = model["merges"];
  if (model["type"] !== "BPE" || !Array.isArray(merges)) throw new UsageError("tokenizer-kind", `tokenizer: expected byte-pair encoding, got ${String(model["type"])} (at ${where})`);
  const lines = merges.map((pair: unknown) => (Array.isArray(pair) ? pair.join(" ") : String(pair)));
  return joinVocabulary(asJsonObject(model["vocab"], `vocab in ${where}`), parseMerges(lines, where), where);
}

/** The model of a `tokenizer.json`. Throws `UsageError` when there is none, as in a `vocab.json`. */
export function modelOf(tokenizerJson: JsonObject, where: string): JsonObject {
  const model = tokenizerJson["model"];
  if (typeof model !== "object" || model === null || Array.isArray(model)) {
    throw new UsageError("tokenizer-kind", `tokenizer: expected a tokenizer.json with a "model", got another JSON file (at ${where})`, "a vocab.json needs its merges.txt beside it");
  }
  return model as JsonObject;
}

function joinVocabulary(vocabulary: JsonObject, merges: BytePairs["merges"], where: string): BytePairs {
  let size = 0;
  const ids = new Map<string, number>();
  for (const [token, id] of Object.entries(vocabulary)) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= 2 ** 24) throw new UsageError("tokenizer-vocabulary", `vocabulary: expected a whole number for "${token}", got ${JSON.stringify(id)} (at ${where})`);
    ids.set(token, id as number);
    size = Math.max(size, (id as number) + 1);
  }
  const idOf = (token: string): number => {
    const id = ids.get(token);
    if (id === undefined) throw new UsageError("tokenizer-vocabulary", `vocabulary: expected the token "${token}", got none (at ${where})`, "this is not a CLIP vocabulary");
    return id;
  };
  checkMerges({ ids, merges }, where);
  return { ids, merges, size, startId: idOf(startToken), endId: idOf(endToken) };
}
