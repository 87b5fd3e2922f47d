/**
 * Recognises mojibake: UTF-8 that was read in a one-byte encoding.
 *
 * Which neighbours are unlikely in real text was found out by Robyn Speer for ftfy (https://github.com/rspeer/python-ftfy, Apache-2.0); the classes and
 * rules below are those of ftfy 6.3, whose answers the tokenizers of CLIP depend on.
 */
import { latin1Like } from "./byte-encodings.ts";
import { spaces } from "./python-spaces.ts";

// Contents of character classes.
const common = "\\u00a0\\u00ad´·–—―’…";
const c1 = "\\u0080-\\u009f";
const bad = "¤¦¨ª¬¯¸ºƒˆˇ˘˛˜†‡‰⌐◊\\ufffd";
const law = "§¶";
const currency = "¢£¥₧€";
const opening = "¡©«¿\\u0384\\u0385‘‚“„•‹\\uf8ff";
const closing = "®»˝”›™";
const numeric = "±²³\\u00b5¹¼½¾×÷⁄№∂∆∏∑√∞∩∫≈≠≡≤≥";
const faces = "°Ò-ÖÙ-Üò-öø-üŌŐŪŲ";
const upper = "À-ÑØÜÝĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĹĻĽŁŃŅŇŒŘŚŞŠŢŤŮŰŸŹŻŽҐ";
const lower = "ß-ñüāăąćčďđēėęěğģīįķĺļľłœŕśşšťźżžґ\\ufb01\\ufb02";
const upperElsewhere = "Þ\\u0386\\u0388-\\u038a\\u038c\\u038e\\u038f\\u0391-\\u03ab\\u0401-\\u042f";
const lowerElsewhere = "\\u03ac-\\u03c9\\u0430-\\u045f";
const box = "│┌┐┘├┤┬┼═-╬▀▄█▌▐-▓";
const arabic = `[ØÙ][${common + currency + bad + numeric + opening}ŸŠ®°\\u00b5»]`;

/** Sequences that real text hardly ever holds. */
const unlikely: readonly string[] = [
  `[${c1}]`,
  `[${bad + lower + upper + box + opening + closing + currency + numeric + law}][${bad}]`,
  `[a-zA-Z][${lowerElsewhere + upperElsewhere}][${bad}]`,
  `[${bad}][${lower + upper + box + opening + closing + currency + numeric + law}]`,
  `[${lower + lowerElsewhere + box + closing + currency + numeric}][${upper}]`,
  `[${box + closing + currency + numeric}][${lower}]`,
  `[${lower + box + closing}][${currency}]`,
  `[${spaces}][${upper}][${currency}]`,
  `[${upper + box}][${numeric + law}]`,
  `[${lower + upper + box + currency + closing}][${opening}][${numeric}]`,
  `[${lower + upper + currency + numeric + box + law}][${closing}][${opening}]`,
  `[${currency + numeric + box}][${opening}]`,
  `[a-z][${upper}][${opening + currency}]`,
  `[${box}][${faces}]`,
  `[${lower + upper + currency + numeric + opening + closing + law}][${box}]`,
  `[${box}][${closing}]`,
  `[${lower + upper}][${opening + closing}][\\p{L}\\p{N}_]`,
  `[Œœ][^A-Za-z]`,
  `[${upper}]°`,
  // Two characters of Windows-1252.
  `[ÂÃÎÐ][€œŠš¢£Ÿž\\u00a0\\u00ad®©°·»${opening + closing}–—´]`,
  `×[²³]`,
  // Arabic in Windows-1252: single pairs are too common.
  arabic + arabic,
  // South Asian scripts.
  `à[²\\u00b5¹¼½¾]`,
  // MacRoman.
  `√[±∂†≠®™´≤≥¥\\u00b5ø]`,
  `≈[°¢]`,
  `‚Ä[ìîïòôúùû†°¢π]`,
  `‚[âó][àä°ê]`,
  // Windows-1251: punctuation; Cyrillic, in threes; punctuation mangled twice, near Latin letters.
  `вЂ`,
  `[ВГРС][${c1 + bad + opening + closing + currency}°\\u00b5][ВГРС]`,
  `ГўВЂВ[^\\n][A-Za-z ]`,
  // à, á and the no-break space in Windows-1252.
  `Ã[\\u00a0¡]`,
  `[a-z][${spaces}]?[ÃÂ] `,
  `^[ÃÂ] `,
  `[a-z.,?!${closing}]Â[ ${opening + closing}]`,
  // Windows-1253: punctuation; Greek.
  `β€[™\\u00a0\\u0386\\u00ad®°]`,
  `[ΒΓΞΟ][${c1 + bad + opening + closing + currency}°][ΒΓΞΟ]`,
  // Windows-1257.
  `ā€`,
];
const unlikelySequence = new RegExp(unlikely.join("|"), "u");

/** Whether `text` holds a sequence that points to mojibake. */
export function looksLikeMojibake(text: string): boolean {
  return unlikelySequence.test(text);
}

/** The characters that the given bytes stand for in any encoding with Latin-1's layout, as contents of a character class. */
function charactersOf(...ranges: readonly (readonly [first: number, last: number])[]): string {
  const found = new Set(latin1Like.flatMap(({ characters }) => ranges.flatMap(([first, last]) => characters.slice(first, last + 1))));
  return [...found].map((character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");
}

const continuation = charactersOf([0x80, 0xbf]);
// Dashes, quotes, bullets and ellipses stand for themselves, also beside mojibake.
const isPunctuation = /\\u20(?:1[345]|1[89a]|1[cde]|22|26)/g;
const lead4 = charactersOf([0xf0, 0xf0], [0xf3, 0xf3]);

/**
 * Runs of characters with the pattern of UTF-8: a lead byte and its continuation bytes, where a space may stand for byte A0. Not directly after another
 * continuation, so that no few characters are picked out of a longer garble.
 */
export const utf8Runs: RegExp = new RegExp(
  `(?<![${continuation.replace(isPunctuation, "")}])(?:[${charactersOf([0xc2, 0xdf])}][${continuation} ]|[${charactersOf([0xe0, 0xef])}][${continuation} ]{2}|[${lead4}][${continuation} ]{3})+`,
  "gu",
);
