import { BertTokenizer, ClipTokenizer, clipTokenizerJson } from "@tastemaker/diffusion";
import { type ClipBpe, clipTokenizerFiles, countWords, trainClipBpe } from "../data/clip-bpe.ts";

/** Token ids of captions, cached. */
export interface CaptionTokens {
  readonly vocabularySize: number;
  readonly endId: number;
  readonly length: number;
  /** Ids of captions, `length` each. */
  ids(captions: readonly string[]): Int32Array;
}

/** The ids that a tokenizer gives, cached by caption. */
export function tokensOf(tokenizer: ClipTokenizer): CaptionTokens {
  const length = tokenizer.maxLength;
  const known = new Map<string, Int32Array>();
  return {
    vocabularySize: tokenizer.vocabularySize,
    endId: tokenizer.endId,
    length,
    ids: (captions) => {
      const result = new Int32Array(captions.length * length);
      captions.forEach((caption, row) => {
        let ids = known.get(caption);
        if (!ids) known.set(caption, (ids = tokenizer.encode([caption], length).ids));
        result.set(ids, row * length);
      });
      return result;
    },
  };
}

/** A tokenizer made for some captions, with its files. */
export interface MadeTokenizer extends CaptionTokens {
  readonly files: Readonly<Record<string, string>>;
}

/** Builds the tokenizer of a vocabulary. */
export function captionTokens(bpe: ClipBpe, length: number): MadeTokenizer {
  const files = clipTokenizerFiles(bpe, length);
  const json = clipTokenizerJson(JSON.parse(files["vocab.json"]!) as Record<string, number>, files["merges.txt"]!);
  return { files, ...tokensOf(new ClipTokenizer(json, JSON.parse(files["tokenizer_config.json"]!) as Record<string, unknown>)) };
}

/** A vocabulary for any captions: the words seen, by byte-pair merges. */
export function vocabularyOf(captions: Iterable<string>, maxMerges = 8000): ClipBpe {
  return trainClipBpe(countWords(captions), maxMerges);
}

/** Captions as BLIP reads them. */
export interface BertCaptions {
  readonly vocabularySize: number;
  /** Tokens per caption. */
  readonly length: number;
  /** Text of `vocab.txt`. */
  readonly vocabulary: string;
  /** `[B, length]` each. */
  encode(captions: readonly string[]): { readonly ids: Int32Array; readonly mask: Int32Array };
}

/** The captions of a vocabulary, cut and padded to `length` tokens. */
export function bertCaptions(vocabulary: string, length: number): BertCaptions {
  const tokenizer = new BertTokenizer(vocabulary);
  return {
    vocabularySize: tokenizer.vocabularySize,
    length,
    vocabulary,
    encode: (captions) => {
      const { ids, mask } = tokenizer.encode(captions, length);
      return { ids, mask };
    },
  };
}
