import { byteEncodings, encodeBytes, windows1252 } from "./byte-encodings.ts";
import { looksLikeMojibake, utf8Runs } from "./mojibake.ts";

// The expressions below run over bytes, written as the characters U+0000 to U+00FF.
/** UTF-8 in which byte A0 became a space, for lead bytes where that is more likely than a real space. */
const spaceForA0 =
  /[\xc2\xc3\xc5\xce\xd0\xd9] |[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] |\xf0 [\x80-\xbf]{2}|\xf0[\x80-\xbf] [\x80-\xbf]|\xf0[\x80-\xbf]{2} /g;
/** The word "à" of French or Portuguese, whose A0 was merged with the space after it; "às", "àquele", "àquela" and "àquilo" are one word. */
const loneAGrave = /\xc3 (?! |quele|quela|quilo|s )/g;
/** UTF-8 with bytes that an earlier reader lost: 1A, or at most one question mark. */
const lossySequence = new RegExp(
  [
    "[\\xc2-\\xdf]\\x1a",
    "[\\xc2\\xc3]\\?",
    "\\xed[\\xa0-\\xaf][\\x1a?]\\xed[\\xb0-\\xbf][\\x1a?\\x80-\\xbf]",
    "\\xed[\\xa0-\\xaf][\\x1a?\\x80-\\xbf]\\xed[\\xb0-\\xbf][\\x1a?]",
    "[\\xe0-\\xef][\\x1a?][\\x1a\\x80-\\xbf]",
    "[\\xe0-\\xef][\\x1a\\x80-\\xbf][\\x1a?]",
    "[\\xf0-\\xf4][\\x1a?][\\x1a\\x80-\\xbf]{2}",
    "[\\xf0-\\xf4][\\x1a\\x80-\\xbf][\\x1a?][\\x1a\\x80-\\xbf]",
    "[\\xf0-\\xf4][\\x1a\\x80-\\xbf]{2}[\\x1a?]",
    "\\x1a",
  ].join("|"),
  "g",
);
const replacementBytes = "\xef\xbf\xbd";

function restoreA0(bytes: string): string {
  return bytes.replace(loneAGrave, "\xc3\xa0 ").replace(spaceForA0, (sequence) => sequence.replaceAll(" ", "\xa0"));
}

/** Four UTF-8 bytes of a character that was written as two surrogates of three bytes each (CESU-8). */
function joinSurrogates(sequence: string): string {
  const bits = (index: number, mask: number): number => sequence.charCodeAt(index) & mask;
  const code = 0x10000 + (bits(1, 0x0f) << 16) + (bits(2, 0x3f) << 10) + (bits(4, 0x0f) << 6) + bits(5, 0x3f);
  return Array.from(new TextEncoder().encode(String.fromCodePoint(code)), (byte) => String.fromCharCode(byte)).join("");
}

/** Strict UTF-8, besides CESU-8's pairs and Java's null. Undefined when the bytes are something else. */
function decodeUtf8(bytes: string): string | undefined {
  const plain = bytes.replaceAll("\xc0\x80", "\0").replace(/\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]/g, joinSurrogates);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(plain, (byte) => byte.charCodeAt(0)));
  } catch {
    return undefined;
  }
}

/** C1 control characters as the characters of Windows-1252 at their place. */
export function fixC1Controls(text: string): string {
  return text.replace(/[\u0080-\u009f]/g, (control) => windows1252.characters[control.charCodeAt(0)]!);
}

/** One step of the repair; the same text when there is nothing to do. */
function fixOnce(text: string): string {
  if (!looksLikeMojibake(text)) return text;
  for (const encoding of byteEncodings) {
    const encoded = encodeBytes(text, encoding);
    if (encoded === undefined) continue;
    // In MacRoman, the bytes would also fit a dash before a space.
    const restored = encoding.name === "macroman" ? encoded : restoreA0(encoded);
    const decoded = decodeUtf8(encoding.isLossy ? restored.replace(lossySequence, replacementBytes) : restored);
    if (decoded !== undefined) return decoded;
  }
  // The text is not mojibake as a whole; parts of it may be. A part has to be shorter than the text, so that this ends.
  const withoutParts = text.replace(utf8Runs, (part) => (part.length < text.length && looksLikeMojibake(part) ? fixEncoding(part) : part));
  if (withoutParts !== text) return withoutParts;
  return fixC1Controls(text);
}

/**
 * Undoes readings of UTF-8 in a one-byte encoding, also several on top of each other. Text that looks right stays as it is.
 *
 * Source: `fix_encoding` of ftfy 6.3 (Robyn Speer, Apache-2.0), whose decisions are reproduced.
 */
export function fixEncoding(text: string): string {
  for (let current = text; ; ) {
    const fixed = fixOnce(current);
    if (fixed === current) return fixed;
    current = fixed;
  }
}
