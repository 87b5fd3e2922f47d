import { UsageError } from "@tastemaker/tensor";
import { splitBertWords, splitPunctuation } from "./bert-text.ts";
import { isFolder, openFirst, readVocabularyText, type TokenizerSource } from "./tokenizer-files.ts";
import { packTokens, type EncodedTexts, type Tokenizer } from "./tokenizer.ts";

const standardTokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] as const;
/** BLIP adds these two after the vocabulary. */
const addedTokens = ["[DEC]", "[ENC]"] as const;
type SpecialToken = (typeof standardTokens)[number] | (typeof addedTokens)[number];

const specialTokens = /(\[(?:PAD|UNK|CLS|SEP|MASK|DEC|ENC)\])/;
/** Longer words are unknown. */
const longestWord = 100;

function parseVocabulary(text: string, where: string): ReadonlyMap<string, number> {
  const lines = text.split(/\r\n?|\n/);
  if (lines.at(-1) === "") lines.pop();
  const ids = new Map<string, number>();
  for (const [id, token] of lines.entries()) {
    if (ids.has(token)) throw new UsageError("tokenizer-vocabulary", `vocabulary: expected every token once, got "${token.slice(0, 40)}" in lines ${ids.get(token)! + 1} and ${id + 1} (at ${where})`);
    ids.set(token, id);
  }
  for (const token of standardTokens) {
    if (!ids.has(token)) throw new UsageError("tokenizer-vocabulary", `vocabulary: expected the token "${token}", got none (at ${where})`, "BERT's vocab.txt has one token in each line");
  }
  for (const token of addedTokens) if (!ids.has(token)) ids.set(token, ids.size);
  return ids;
}

/** BERT's uncased WordPiece tokenizer with BLIP's two added tokens. Results are those of transformers' `BertTokenizer` 4.57. */
export class BertTokenizer implements Tokenizer {
  readonly startId: number;
  readonly endId: number;
  readonly padId: number;
  readonly maxLength = 35;
  readonly vocabularySize: number;
  /** `[ENC]`, which BLIP's pre-training puts in the place of the start token. */
  readonly encId: number;
  /** `[DEC]`, which starts BLIP's generated captions. */
  readonly decId: number;
  readonly #ids: ReadonlyMap<string, number>;

  /** @param vocabulary Text of `vocab.txt`. Throws `UsageError` when a token is missing or listed twice. */
  constructor(vocabulary: string, where: string = "vocab.txt") {
    this.#ids = parseVocabulary(vocabulary, where);
    const idOf = (token: SpecialToken): number => this.#ids.get(token)!;
    this.startId = idOf("[CLS]");
    this.endId = idOf("[SEP]");
    this.padId = idOf("[PAD]");
    this.encId = idOf("[ENC]");
    this.decId = idOf("[DEC]");
    this.vocabularySize = this.#ids.size;
  }

  tokenIds(text: string): readonly number[] {
    const ids = [this.startId];
    for (const [index, piece] of text.split(specialTokens).entries()) {
      if (index % 2 === 1) ids.push(this.#ids.get(piece)!);
      else for (const word of uncasedWords(piece)) this.#pushPieces(ids, word);
    }
    ids.push(this.endId);
    return ids;
  }

  encode(texts: readonly string[], maxLength: number = this.maxLength): EncodedTexts {
    return packTokens(texts.map((text) => this.tokenIds(text)), maxLength, this.endId, this.padId);
  }

  /** The longest known beginning of the word, then the longest of the rest, and so on; one unknown token if that does not reach the end. */
  #pushPieces(ids: number[], word: string): void {
    const characters = Array.from(word);
    const pieces: number[] = [];
    for (let start = 0; start < characters.length && characters.length <= longestWord; ) {
      let end = characters.length;
      let id: number | undefined;
      for (; end > start && id === undefined; end--) id = this.#ids.get((start > 0 ? "##" : "") + characters.slice(start, end).join(""));
      if (id === undefined) break;
      pieces.push(id);
      start = end + 1;
      if (start === characters.length) {
        ids.push(...pieces);
        return;
      }
    }
    ids.push(this.#ids.get("[UNK]")!);
  }
}

/** The words that pieces are made from: in lower case, without accents, every punctuation sign by itself. */
export function uncasedWords(text: string): readonly string[] {
  // Each character by itself: a final Σ becomes σ.
  const lower = Array.from(text, (character) => character.toLowerCase()).join("");
  return splitBertWords(lower).flatMap((word) => splitPunctuation(word.toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "")));
}

/** Opens BERT's tokenizer. @param source `vocab.txt`, or a folder that has it. Throws `UsageError` when it is something else. */
export async function openBertTokenizer(source: TokenizerSource): Promise<BertTokenizer> {
  const file = isFolder(source) ? await openFirst(source, ["vocab.txt"]) : source;
  return new BertTokenizer(await readVocabularyText(file), file.name);
}
