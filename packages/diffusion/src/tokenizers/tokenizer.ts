import { UsageError } from "@tastemaker/tensor";

/** Token ids of a batch of texts. */
export interface EncodedTexts {
  /** `[B, L]`, row by row: start, tokens, end, padding. */
  readonly ids: Int32Array;
  /** `[B, L]`: 1 for start, tokens and end, 0 for padding. */
  readonly mask: Int32Array;
  readonly shape: readonly [number, number];
  /** Per text: whether tokens were cut off to fit. */
  readonly truncated: readonly boolean[];
}

/** A text model's tokenizer. All kinds cut and pad the same way: the first L − 1 ids of a text that is too long, then the end token. */
export interface Tokenizer {
  readonly startId: number;
  readonly endId: number;
  readonly padId: number;
  /** Default length of `encode`: 77 for CLIP, 35 for BLIP's texts, or what the tokenizer's configuration states. */
  readonly maxLength: number;
  /** Number of ids, which is what a text model's embedding has to hold. */
  readonly vocabularySize: number;
  /** The complete ids of one text: start, tokens, end; neither cut nor padded. Never throws: half a surrogate pair counts as U+FFFD. */
  tokenIds(text: string): readonly number[];
  /** Ids of `texts`, each cut or padded to `maxLength`, at least 2. Throws `UsageError` for another length. */
  encode(texts: readonly string[], maxLength?: number): EncodedTexts;
}

/** Cuts and pads complete id lists to `[B, maxLength]`. The last id of a list that is cut becomes `endId`. Throws `UsageError` when `maxLength` is below 2. */
export function packTokens(rows: readonly (readonly number[])[], maxLength: number, endId: number, padId: number): EncodedTexts {
  if (!Number.isSafeInteger(maxLength) || maxLength < 2) {
    throw new UsageError("token-length", `token length: expected a whole number of at least 2, got ${maxLength}`);
  }
  const ids = new Int32Array(rows.length * maxLength).fill(padId);
  const mask = new Int32Array(rows.length * maxLength);
  const truncated = rows.map((row, index) => {
    const start = index * maxLength;
    const isCut = row.length > maxLength;
    ids.set(isCut ? row.slice(0, maxLength) : row, start);
    if (isCut) ids[start + maxLength - 1] = endId;
    mask.fill(1, start, start + Math.min(row.length, maxLength));
    return isCut;
  });
  return { ids, mask, shape: [rows.length, maxLength], truncated };
}
