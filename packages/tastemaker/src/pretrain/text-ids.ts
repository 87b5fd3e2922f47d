import { ClipTokenizer, clipTokenizerJson } from "@tastemaker/diffusion";
import { type ClipBpe, clipTokenizerFiles, countWords, trainClipBpe } from "../data/clip-bpe.ts";

/** A tokenizer made for some captions, its files, and token ids by caption. */
export interface CaptionTokens {
  readonly files: Readonly<Record<string, string>>;
  readonly vocabularySize: number;
  readonly endId: number;
  readonly length: number;
  /** Ids of captions, `length` each. */
  ids(captions: readonly string[]): Int32Array;
}

/** Builds the tokenizer of a vocabulary. Ids are cached by caption. */
export function captionTokens(bpe: ClipBpe, length: number): CaptionTokens {
  const files = clipTokenizerFiles(bpe, length);
  const tokenizer = new ClipTokenizer(clipTokenizerJson(JSON.parse(files["vocab.json"]!) as Record<string, number>, files["merges.txt"]!), JSON.parse(files["tokenizer_config.json"]!) as Record<string, unknown>);
  const known = new Map<string, Int32Array>();
  return {
    files,
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

/** A vocabulary for any captions: the words seen, by byte-pair merges. */
export function vocabularyOf(captions: Iterable<string>, maxMerges = 8000): ClipBpe {
  return trainClipBpe(countWords(captions), maxMerges);
}
