import { asJsonObject, parseJson } from "../files/random-access-file.ts";
import { splitBertWords } from "./bert-text.ts";
import { bytePairsOfMerges, bytePairsOfTokenizerJson, bytePairsOfVocabulary, endToken, startToken, type BytePairs } from "./byte-pairs.ts";
import { WordEncoder } from "./merge-pairs.ts";
import { fixText } from "./text-repair/fix-text.ts";
import { unescapeHtml } from "./text-repair/html-entities.ts";
import { splitWords } from "./text-repair/python-spaces.ts";
import { isFolder, openFirst, readVocabularyText, type TokenizerSource } from "./tokenizer-files.ts";
import { packTokens, type EncodedTexts, type Tokenizer } from "./tokenizer.ts";

/**
 * A tokenizer with CLIP's vocabulary:
 * - `openai`: package `clip` of OpenAI, pads with 0; a text may hold `<|startoftext|>` and `<|endoftext|>`.
 * - `open_clip`: open_clip and HPSv2, pads with 0; a text may hold `<start_of_text>` and `<end_of_text>`.
 * - `hf_slow_ftfy`, `hf_slow_no_ftfy`: transformers' `CLIPTokenizer` with and without the package ftfy, pads with the end token.
 */
export type BytePairKind = "openai" | "open_clip" | "hf_slow_ftfy" | "hf_slow_no_ftfy";

/** How a text becomes words. */
interface TextRules {
  /** Spellings of the start and the end token in a text. */
  readonly special: readonly [start: string, end: string];
  readonly padding: "zero" | "end";
  split(text: string): readonly string[];
}

/**
 * CLIP's expression for words, in a lower-cased text. The original ignores case, which adds ſ to s and takes U+0345 out: its case folds to a letter, so
 * that it is neither a letter nor none.
 */
function wordsLike(...special: readonly string[]): RegExp {
  const spellings = special.map((token) => token.replaceAll("|", "\\|").replaceAll("s", "[sſ]"));
  return new RegExp(`${spellings.join("|")}|'[sſ]|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|[^\\p{White_Space}\\p{L}\\p{N}\\u0345]+`, "gu");
}

const clipSpecial = [startToken, endToken] as const;
const openClipSpecial = ["<start_of_text>", "<end_of_text>"] as const;
const clipWords = wordsLike(...clipSpecial);
const openClipWords = wordsLike(...openClipSpecial);

/** What OpenAI's `clip` and open_clip do to a text before they split it. */
function cleanText(text: string): string {
  return splitWords(unescapeHtml(unescapeHtml(fixText(text)))).join(" ").toLowerCase();
}

/** Hugging Face's slow tokenizers set the special tokens apart first, and clean what lies between them piece by piece. */
function splitBetweenSpecial(text: string, clean: (piece: string) => string): readonly string[] {
  return text.split(/(<\|startoftext\|>|<\|endoftext\|>)/).flatMap((piece, index) => (index % 2 === 1 ? [piece] : (clean(piece).match(clipWords) ?? [])));
}

const textRules: Readonly<Record<BytePairKind, TextRules>> = {
  openai: { special: clipSpecial, padding: "zero", split: (text) => cleanText(text).match(clipWords) ?? [] },
  open_clip: { special: openClipSpecial, padding: "zero", split: (text) => cleanText(text).match(openClipWords) ?? [] },
  hf_slow_ftfy: { special: clipSpecial, padding: "end", split: (text) => splitBetweenSpecial(text, (piece) => splitWords(fixText(piece)).join(" ").toLowerCase()) },
  hf_slow_no_ftfy: {
    special: clipSpecial,
    padding: "end",
    split: (text) => splitBetweenSpecial(text, (piece) => splitBertWords(piece).map((word) => word.toLowerCase()).join(" ")),
  },
};

const encoder = new TextEncoder();

/** CLIP's byte-pair encoding after one of four ways to clean a text. Results are those of clip-anytorch 2.6, open_clip 3.3 and transformers 4.57. */
export class BytePairTokenizer implements Tokenizer {
  readonly startId: number;
  readonly endId: number;
  readonly padId: number;
  readonly maxLength = 77;
  readonly vocabularySize: number;
  readonly #rules: TextRules;
  readonly #words: WordEncoder;

  constructor(pairs: BytePairs, kind: BytePairKind) {
    this.#rules = textRules[kind];
    this.#words = new WordEncoder(pairs);
    this.startId = pairs.startId;
    this.endId = pairs.endId;
    this.padId = this.#rules.padding === "zero" ? 0 : pairs.endId;
    this.vocabularySize = pairs.size;
  }

  tokenIds(text: string): readonly number[] {
    const [start, end] = this.#rules.special;
    const ids = [this.startId];
    for (const word of this.#rules.split(text)) {
      if (word === start) ids.push(this.startId);
      else if (word === end) ids.push(this.endId);
      else for (const id of this.#words.encode(encoder.encode(word))) ids.push(id);
    }
    ids.push(this.endId);
    return ids;
  }

  encode(texts: readonly string[], maxLength: number = this.maxLength): EncodedTexts {
    return packTokens(texts.map((text) => this.tokenIds(text)), maxLength, this.endId, this.padId);
  }
}

/**
 * Reads CLIP's vocabulary from OpenAI's list of merges (zipped or not), from a `tokenizer.json`, or from a folder with `vocab.json` and `merges.txt`,
 * `tokenizer.json` or `bpe_simple_vocab_16e6.txt.gz`. Throws `UsageError` when it is something else.
 */
export async function readBytePairs(source: TokenizerSource): Promise<BytePairs> {
  if (isFolder(source) && (await source.has("vocab.json"))) {
    const file = await source.open("vocab.json");
    const vocabulary = asJsonObject(parseJson(await readVocabularyText(file), file.name), file.name);
    return bytePairsOfVocabulary(vocabulary, await readVocabularyText(await openFirst(source, ["merges.txt"])), file.name);
  }
  const file = isFolder(source) ? await openFirst(source, ["vocab.json", "tokenizer.json", "bpe_simple_vocab_16e6.txt.gz"]) : source;
  const text = await readVocabularyText(file);
  return text.trimStart().startsWith("{") ? bytePairsOfTokenizerJson(text, file.name) : bytePairsOfMerges(text, file.name);
}

/** Opens a byte-pair tokenizer. `source` is what `readBytePairs` takes. Throws `UsageError` when it is not CLIP's vocabulary. */
export async function openBpeTokenizer(source: TokenizerSource, kind: BytePairKind): Promise<BytePairTokenizer> {
  return new BytePairTokenizer(await readBytePairs(source), kind);
}
