import { asJsonObject, parseJson } from "../files/random-access-file.ts";
import { openBertTokenizer } from "./bert-tokenizer.ts";
import { openBpeTokenizer, readBytePairs } from "./byte-pair-tokenizer.ts";
import { ClipTokenizer, clipTokenizerJson, openClipTokenizer } from "./clip-tokenizer.ts";
import { isFolder, readVocabularyText, type TokenizerSource } from "./tokenizer-files.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** All kinds of tokenizers. `hf_fast` is transformers' `CLIPTokenizerFast`, `bert` BLIP's, the others are described at `BytePairKind`. */
export const TOKENIZER_KINDS = ["openai", "open_clip", "hf_slow_ftfy", "hf_slow_no_ftfy", "hf_fast", "bert"] as const;
export type TokenizerKind = (typeof TOKENIZER_KINDS)[number];

async function openFastTokenizer(source: TokenizerSource): Promise<ClipTokenizer> {
  if (isFolder(source) && ((await source.has("tokenizer.json")) || (await source.has("vocab.json")))) return openClipTokenizer(source);
  if (!isFolder(source)) {
    const text = await readVocabularyText(source);
    if (text.trimStart().startsWith("{")) return new ClipTokenizer(asJsonObject(parseJson(text, source.name), source.name), {}, source.name);
  }
  const { ids, merges } = await readBytePairs(source);
  return new ClipTokenizer(clipTokenizerJson(Object.fromEntries(ids), merges.map((pair) => pair.join(" ")).join("\n")));
}

/**
 * Opens a tokenizer of the given kind. Throws `UsageError` when `source` does not hold its vocabulary.
 *
 * @param source CLIP's kinds: what `readBytePairs` takes. `bert`: `vocab.txt`, or a folder with it.
 */
export function openTokenizer(kind: TokenizerKind, source: TokenizerSource): Promise<Tokenizer> {
  if (kind === "bert") return openBertTokenizer(source);
  return kind === "hf_fast" ? openFastTokenizer(source) : openBpeTokenizer(source, kind);
}
