import { characterEntities } from "character-entities";
import { characterEntitiesLegacy } from "character-entities-legacy";
import { windows1252 } from "./byte-encodings.ts";

/** Names of HTML 5: with their semicolon, and the old ones also without it. */
const entities: ReadonlyMap<string, string> = new Map([
  ...Object.entries(characterEntities).map(([name, value]) => [`${name};`, value] as const),
  ...characterEntitiesLegacy.map((name) => [name, characterEntities[name]!] as const),
]);
const longestName = 32;

function characterOfNumber(code: number): string {
  if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return "\ufffd";
  if (code >= 0x80 && code <= 0x9f) return windows1252.characters[code]!;
  const isDropped =
    code < 0x09 || code === 0x0b || (code > 0x0d && code < 0x20) || code === 0x7f || (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) === 0xfffe;
  return isDropped ? "" : String.fromCodePoint(code);
}

/**
 * Replaces HTML character references as Python's `html.unescape` does: the rules of HTML 5, with the longest known name (`&notit;` is `¬it;`), except
 * that numbers of control characters and of noncharacters disappear.
 */
export function unescapeHtml(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:#([0-9]+);?|#[xX]([0-9a-fA-F]+);?|([^\t\n\f <&#;]{1,32};?))/gu, (match: string, decimal?: string, hexadecimal?: string, name?: string) => {
    if (decimal !== undefined) return characterOfNumber(Number(decimal));
    if (hexadecimal !== undefined) return characterOfNumber(Number.parseInt(hexadecimal, 16));
    const written = name!;
    for (let length = Math.min(written.length, longestName); length >= 2; length--) {
      const value = entities.get(written.slice(0, length));
      if (value !== undefined) return value + written.slice(length);
    }
    return match;
  });
}

/**
 * Replaces only what is certainly meant as a reference: it ends in a semicolon and is known as a whole. Names in capitals are read too where
 * HTML has no such name (`&EACUTE;` is É).
 *
 * Source: `unescape_html` of ftfy 6.3.
 */
export function unescapeClearHtml(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&#?[0-9A-Za-z]{1,24};/g, (reference) => {
    const name = reference.slice(1);
    const known = entities.get(name);
    if (known !== undefined) return known;
    const unescaped = unescapeHtml(reference);
    if (reference.startsWith("&#")) return unescaped.includes(";") ? reference : unescaped;
    const lower = entities.get(name.toLowerCase());
    return name === name.toUpperCase() && lower !== undefined && unescaped === reference ? lower.toUpperCase() : reference;
  });
}
