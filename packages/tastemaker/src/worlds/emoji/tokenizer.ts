import { type ClipBpe, trainClipBpe } from "../../data/clip-bpe.ts";
import { vocabularyWords } from "./vocabulary.ts";

/** Tokens of the longest caption of the grammar, 17 with begin and end, and some room. */
export const worldContextLength = 20;

/** The world's CLIP vocabulary: every word of the grammar is one token; any other text falls apart into letters and bytes. */
export function worldBpe(): ClipBpe {
  return trainClipBpe(new Map(vocabularyWords().map((word) => [word, 1])));
}
