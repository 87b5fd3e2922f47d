import { bertVocabulary } from "../../data/bert-vocabulary.ts";
import { type ClipBpe, trainClipBpe } from "../../data/clip-bpe.ts";
import { vocabularyWords } from "./vocabulary.ts";

/** Tokens of the longest caption of the grammar, with begin and end. */
export const longestCaption = 17;

/** The same with some room. */
export const worldContextLength = 20;

/** The world's CLIP vocabulary: every word of the grammar is one token; any other text falls apart into letters and bytes. */
export function worldBpe(): ClipBpe {
  return trainClipBpe(new Map(vocabularyWords().map((word) => [word, 1])));
}

/** BERT's `vocab.txt` of the world, in which every word of the grammar is one token too. */
export function worldBertVocabulary(): string {
  return bertVocabulary(new Map(vocabularyWords().map((word) => [word, 1])));
}
