/** The first half of BERT's tokenizer: cleaning and splitting at white space, ideographs and punctuation. Source: BERT's `BasicTokenizer`, as in transformers 4.57. */
import { splitWords } from "./text-repair/python-spaces.ts";

const controls = /[^\P{C}\t\n\r]|\ufffd/gu;
const blanks = /[\t\n\r\p{Zs}]/gu;
// The blocks that BERT lists; later extensions are not split.
const ideographs = /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

/** Words of `text` in NFC: without control and format characters, and with every ideograph a word of its own. */
export function splitBertWords(text: string): readonly string[] {
  return splitWords(text.replace(controls, "").replace(blanks, " ").replace(ideographs, " $& ").normalize("NFC"));
}

/** Splits a word around its punctuation: characters of Unicode's punctuation categories and all signs of ASCII. */
export function splitPunctuation(word: string): readonly string[] {
  return word.match(/[!-/:-@[-`{-~]|\p{P}|[^!-/:-@[-`{-~\p{P}]+/gu) ?? [];
}
