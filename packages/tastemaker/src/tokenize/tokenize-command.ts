import { openTokenizer, TOKENIZER_KINDS, type TokenizerKind } from "@tastemaker/diffusion";
import { unknownNameError, UsageError } from "@tastemaker/tensor";
import type { TokenizeOptions } from "../cli/commands/tokenize.ts";
import type { Output } from "../cli/output.ts";
import { readLines, type Line } from "../data/read-lines.ts";
import { openVocabulary } from "./vocabulary-source.ts";

function isKind(name: string): name is TokenizerKind {
  return (TOKENIZER_KINDS as readonly string[]).includes(name);
}

/** A JSON value that is a text or a list of texts; undefined for anything else. */
function parseTexts(line: string): readonly string[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const texts: readonly unknown[] = Array.isArray(value) ? value : [value];
  return texts.every((text) => typeof text === "string") ? texts : undefined;
}

function textsOfJsonLine({ text, number }: Line): readonly string[] {
  if (text.trim() === "") return [];
  const texts = parseTexts(text);
  if (texts === undefined) {
    throw new UsageError("text-not-json", `text: expected a JSON string or a list of them, got ${text.slice(0, 40)} (at line ${number} of the standard input)`, "leave --json-lines out for plain lines");
  }
  return texts;
}

/** Reads texts from `input` and prints their ids; lines of ids appear as texts arrive. Throws `UsageError` for a bad vocabulary or bad input. */
export async function runTokenize({ tokenizer: kind, vocab, jsonLines, length }: TokenizeOptions, input: AsyncIterable<Uint8Array> & { readonly isTTY?: boolean }, output: Output): Promise<void> {
  if (!isKind(kind)) throw unknownNameError("tokenizer", kind, TOKENIZER_KINDS);
  const tokenizer = await openTokenizer(kind, await openVocabulary(vocab));
  if (input.isTTY === true) output.note(`Write ${jsonLines ? "JSON strings" : "texts"}, one in each line; end with Ctrl-D.`);
  const ids: (readonly number[])[] = [];
  const masks: (readonly number[])[] = [];
  const truncated: boolean[] = [];
  for await (const line of readLines(input, "the standard input")) {
    if (!jsonLines && line.number === 1 && /^\s*["[]/.test(line.text) && parseTexts(line.text) !== undefined) {
      output.note("The first line looks like JSON; it is read as plain text. Use --json-lines to read JSON.");
    }
    for (const text of jsonLines ? textsOfJsonLine(line) : [line.text]) {
      const encoded = length === undefined ? undefined : tokenizer.encode([text], length);
      const row = encoded === undefined ? tokenizer.tokenIds(text) : [...encoded.ids];
      output.print(row.join(" "));
      if (!output.isJson) continue;
      ids.push(row);
      if (encoded === undefined) continue;
      masks.push([...encoded.mask]);
      truncated.push(encoded.truncated[0]!);
    }
  }
  const { startId, endId, padId, vocabularySize } = tokenizer;
  output.result({ tokenizer: kind, startId, endId, padId, vocabularySize, ids, ...(length === undefined ? {} : { length, masks, truncated }) });
}
