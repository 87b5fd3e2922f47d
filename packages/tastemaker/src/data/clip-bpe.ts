import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";

const endOfWord = "</w>";
const beginToken = "<|startoftext|>";
const endToken = "<|endoftext|>";

/** A CLIP byte-pair vocabulary: what `vocab.json` and `merges.txt` hold. */
export interface ClipBpe {
  /** Token → id: 256 bytes, 256 word-final bytes, one per merge, begin, end. The end token has the largest id, because CLIP pools there. */
  readonly vocab: Readonly<Record<string, number>>;
  /** Pairs in order of rank. */
  readonly merges: readonly (readonly [string, string])[];
}

/** GPT-2's printable stand-in for each byte, in CLIP's order of ids. */
function byteSymbols(): { symbolOf: string[]; inOrder: string[] } {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) ||
    (byte >= 0xa1 && byte <= 0xac) ||
    (byte >= 0xae && byte <= 0xff);
  const symbolOf: string[] = [];
  let next = 256;
  const late: string[] = [];
  const early: string[] = [];
  for (let byte = 0; byte < 256; byte++) {
    const symbol = String.fromCharCode(isPrintable(byte) ? byte : next++);
    symbolOf.push(symbol);
    (isPrintable(byte) ? early : late).push(symbol);
  }
  return { symbolOf, inOrder: [...early, ...late] };
}

/** The words CLIP's tokenizer splits a caption into, lower case. */
export function clipWords(caption: string): string[] {
  const text = caption.normalize("NFC").toLowerCase();
  return text.match(/'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/gu) ?? [];
}

/** How often each word occurs in the captions. */
export function countWords(captions: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const caption of captions)
    for (const word of clipWords(caption)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

/**
 * Learns byte-pair merges: the most frequent adjacent pair first (ties by code units, so the result depends on the counts alone), until every word is
 * one token or `maxMerges` is reached. With enough merges every word given is a single token.
 *
 * Source: Sennrich et al. 2016, in the byte-level form of GPT-2 and CLIP.
 */
export function trainClipBpe(
  counts: ReadonlyMap<string, number>,
  maxMerges: number = Infinity,
): ClipBpe {
  const { symbolOf, inOrder } = byteSymbols();
  const encoder = new TextEncoder();
  let words = Array.from(counts, ([word, count]) => {
    const symbols = Array.from(encoder.encode(word), (byte) => symbolOf[byte]!);
    symbols[symbols.length - 1] += endOfWord;
    return { symbols, count };
  });
  const merges: [string, string][] = [];
  const tokens = new Set([...inOrder, ...inOrder.map((symbol) => symbol + endOfWord)]);
  while (merges.length < maxMerges) {
    words = words.filter(({ symbols }) => symbols.length > 1);
    const pairs = new Map<string, { pair: [string, string]; count: number }>();
    for (const { symbols, count } of words) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        // No symbol holds a space: bytes that are not printable have stand-ins.
        const key = `${symbols[i]} ${symbols[i + 1]}`;
        const entry = pairs.get(key);
        if (entry === undefined) pairs.set(key, { pair: [symbols[i]!, symbols[i + 1]!], count });
        else entry.count += count;
      }
    }
    let best: { key: string; pair: [string, string]; count: number } | undefined;
    for (const [key, { pair, count }] of pairs) {
      if (best === undefined || count > best.count || (count === best.count && key < best.key))
        best = { key, pair, count };
    }
    if (best === undefined) break;
    merges.push(best.pair);
    tokens.add(best.pair.join(""));
    for (const word of words) word.symbols = mergePair(word.symbols, best.pair);
  }
  const vocab: Record<string, number> = {};
  for (const token of [...tokens, beginToken, endToken]) vocab[token] = Object.keys(vocab).length;
  return { vocab, merges };
}

function mergePair(symbols: readonly string[], [left, right]: readonly [string, string]): string[] {
  const merged: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === left && symbols[i + 1] === right) {
      merged.push(left + right);
      i++;
    } else merged.push(symbols[i]!);
  }
  return merged;
}

/** The files of a diffusers `tokenizer` folder. `contextLength` counts the begin and end tokens. */
export function clipTokenizerFiles(
  { vocab, merges }: ClipBpe,
  contextLength: number,
): Record<string, string> {
  if (!Number.isInteger(contextLength) || contextLength < 3) {
    throw new UsageError(
      "context-length",
      `tokenizer: expected a context length of at least 3 tokens, got ${contextLength}`,
    );
  }
  const special = {
    bos_token: beginToken,
    eos_token: endToken,
    unk_token: endToken,
    pad_token: endToken,
  };
  const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;
  return {
    "vocab.json": `${JSON.stringify(vocab)}\n`,
    "merges.txt": `#version: 0.2\n${merges.map((pair) => `${pair.join(" ")}\n`).join("")}`,
    "special_tokens_map.json": json(special),
    "tokenizer_config.json": json({
      tokenizer_class: "CLIPTokenizer",
      ...special,
      add_prefix_space: false,
      do_lower_case: true,
      errors: "replace",
      model_max_length: contextLength,
    }),
  };
}

/** Writes `clipTokenizerFiles` into `directory`, which is made if needed. */
export async function writeClipTokenizer(
  directory: string,
  bpe: ClipBpe,
  contextLength: number,
): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [name, text] of Object.entries(clipTokenizerFiles(bpe, contextLength)))
    await writeFile(join(directory, name), text);
}
