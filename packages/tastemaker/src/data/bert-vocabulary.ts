import { uncasedWords } from "@tastemaker/diffusion";

const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] as const;
/** Letters, digits and signs of ASCII, so that any plain text falls apart into known pieces. */
const ascii: readonly string[] = Array.from({ length: 0x7f - 0x21 }, (_, i) => String.fromCharCode(0x21 + i)).filter((character) => !/[A-Z]/.test(character));
const isSign = (character: string): boolean => uncasedWords(`a${character}`).length > 1;

/** How often each word of the captions occurs, as BERT's uncased tokenizer splits them. */
export function countBertWords(captions: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const caption of captions) for (const word of uncasedWords(caption)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

/**
 * The text of a `vocab.txt` for some words: BERT's special tokens, every character of the words and of ASCII (also as the continuation of a word), then the most frequent words
 * whole (ties by code units, so the result depends on the counts alone). A word given is one token, or falls apart into characters; it is never unknown (above 100 characters BERT
 * calls every word unknown).
 *
 * @param most Whole words.
 */
export function bertVocabulary(counts: ReadonlyMap<string, number>, most: number = 8000): string {
  const byCount = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([word]) => word);
  const characters = [...new Set([...ascii, ...Array.from(byCount.join("")).sort()])];
  const words = byCount.filter((word) => !characters.includes(word));
  const pieces = characters.flatMap((character) => (isSign(character) ? [character] : [character, `##${character}`]));
  return [...new Set([...special, ...pieces, ...words.slice(0, most)])].map((token) => `${token}\n`).join("");
}
