import { fixC1Controls, fixEncoding } from "./fix-encoding.ts";
import { unescapeClearHtml } from "./html-entities.ts";

/** Ligatures and digraphs of Latin letters. */
const ligatures: ReadonlyMap<string, string> = new Map([
  ["Ĳ", "IJ"],
  ["ĳ", "ij"],
  ["ŉ", "ʼn"],
  ["Ǳ", "DZ"],
  ["ǲ", "Dz"],
  ["ǳ", "dz"],
  ["Ǆ", "DŽ"],
  ["ǅ", "Dž"],
  ["ǆ", "dž"],
  ["Ǉ", "LJ"],
  ["ǈ", "Lj"],
  ["ǉ", "lj"],
  ["Ǌ", "NJ"],
  ["ǋ", "Nj"],
  ["ǌ", "nj"],
  ["\ufb00", "ff"],
  ["\ufb01", "fi"],
  ["\ufb02", "fl"],
  ["\ufb03", "ffi"],
  ["\ufb04", "ffl"],
  ["\ufb05", "ſt"],
  ["\ufb06", "st"],
]);

/** Characters that show nothing and that nobody means: control characters, Arabic shaping, annotations, byte-order marks. */
// oxlint-disable-next-line no-control-regex -- control characters are what is searched for
const invisible = /[\u0000-\u0008\u000b\u000e-\u001f\u007f\u206a-\u206f\ufeff\ufff9-\ufffc]/g;

function fixOnce(text: string, unescapes: boolean): string {
  return fixC1Controls(fixEncoding(unescapes ? unescapeClearHtml(text) : text))
    .replace(/[ĲĳŉǄ-ǌǱ-ǳ\ufb00-\ufb06]/g, (letters) => ligatures.get(letters)!)
    .replace(/[\u3000\uff01-\uffef]/g, (wide) => wide.normalize("NFKC"))
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/\r\n?|[\u2028\u2029\u0085]/g, "\n")
    .replace(/\p{Surrogate}/gu, "\ufffd")
    // oxlint-disable-next-line no-control-regex -- an escape sequence of a terminal
    .replace(/\u001b\[[\p{Nd};]*[a-zA-Z]/gu, "")
    .replace(invisible, "")
    .normalize("NFC");
}

const longestLine = 1_000_000;

/** The end of the line that begins at `start`: after its line feed, or after a million characters. */
function lineEnd(text: string, start: number): number {
  const feed = text.indexOf("\n", start) + 1;
  const end = feed === 0 ? text.length : feed;
  if (end - start <= longestLine) return end;
  let position = start;
  for (let count = 0; count < longestLine && position < end; count++) position += text.codePointAt(position)! > 0xffff ? 2 : 1;
  return position;
}

/**
 * Repairs text line by line: mojibake, HTML entities (until a line holds `<`), curly quotes, ligatures, full and half widths, line breaks, half surrogate
 * pairs, escape sequences of terminals, control characters; then NFC. Repeated until nothing changes.
 *
 * Source: `fix_text` of ftfy 6.3 with its default settings (Robyn Speer, Apache-2.0), whose results are reproduced.
 */
export function fixText(text: string): string {
  let fixed = "";
  let unescapes = true;
  for (let start = 0; start < text.length; ) {
    const end = lineEnd(text, start);
    let line = text.slice(start, end);
    unescapes &&= !line.includes("<");
    for (let previous: string | undefined; line !== previous; ) {
      previous = line;
      line = fixOnce(line, unescapes);
    }
    fixed += line;
    start = end;
  }
  return fixed;
}
