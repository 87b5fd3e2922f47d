/** A one-byte encoding, for text that was read in the wrong one. */
export interface ByteEncoding {
  readonly name: string;
  /** A Windows code page in which byte 1A stands for U+FFFD: what its reader could not decode. */
  readonly isLossy: boolean;
  /** Character of each of the 256 bytes. Bytes that the standard leaves open keep Latin-1's meaning, as browsers read them. */
  readonly characters: readonly string[];
}

/** Characters of the bytes 80 to FF. A space means: as in Latin-1. Source: the code charts of the vendors, as Unicode publishes them. */
const upperHalves = {
  "latin-1": "",
  "windows-1252": "€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ",
  "windows-1251": "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–— ™љ›њќћџ ЎўЈ Ґ  Ё Є    Ї  Ііґ   ё№є јЅѕїАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
  "windows-1250": "€ ‚ „…†‡ ‰Š‹ŚŤŽŹ ‘’“”•–— ™š›śťžź ˇ˘Ł Ą    Ş    Ż  ˛ł     ąş Ľ˝ľżŔ  Ă ĹĆ Č Ę Ě  ĎĐŃŇ  Ő  ŘŮ Ű  Ţ ŕ  ă ĺć č ę ě  ďđńň  ő  řů ű  ţ˙",
  "windows-1253": "€ ‚ƒ„…†‡ ‰ ‹     ‘’“”•–— ™ ›     ΅Ά            ―    ΄   ΈΉΊ Ό ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ",
  "windows-1254": "€ ‚ƒ„…†‡ˆ‰Š‹Œ    ‘’“”•–—˜™š›œ  Ÿ                                                Ğ            İŞ                 ğ            ış",
  "windows-1257": "€ ‚ „…†‡ ‰ ‹ ¨ˇ¸ ‘’“”•–— ™ › ¯˛         Ø Ŗ    Æ        ø ŗ    æĄĮĀĆ  ĘĒČ ŹĖĢĶĪĻŠŃŅ Ō   ŲŁŚŪ ŻŽ ąįāć  ęēč źėģķīļšńņ ō   ųłśū żž˙",
  "iso-8859-2": "                                 Ą˘Ł ĽŚ  ŠŞŤŹ ŽŻ ą˛ł ľśˇ šşťź˝žżŔ  Ă ĹĆ Č Ę Ě  ĎĐŃŇ  Ő  ŘŮ Ű  Ţ ŕ  ă ĺć č ę ě  ďđńň  ő  řů ű  ţ˙",
  "macroman": "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°  §•¶ß® ™´¨≠ÆØ∞ ≤≥¥ ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u00a0ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\uf8ffÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ",
  "cp437": "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0",
} as const;

function encoding(name: keyof typeof upperHalves, isLossy: boolean): ByteEncoding {
  const upper = upperHalves[name].padEnd(128, " ");
  const characters = Array.from({ length: 256 }, (_, byte) => {
    const character = byte < 0x80 ? " " : upper[byte - 0x80]!;
    return character === " " ? String.fromCharCode(byte) : character;
  });
  if (isLossy) characters[0x1a] = "\ufffd";
  return { name, isLossy, characters };
}

export const latin1: ByteEncoding = encoding("latin-1", false);
export const windows1252: ByteEncoding = encoding("windows-1252", true);

/** Encodings that share Latin-1's layout: letters at the top, signs from 80 to BF. */
export const latin1Like: readonly ByteEncoding[] = [
  latin1,
  windows1252,
  encoding("windows-1251", true),
  encoding("windows-1250", true),
  encoding("windows-1253", true),
  encoding("windows-1254", true),
  encoding("windows-1257", true),
];

/** All encodings, in the order in which a repair tries them. */
export const byteEncodings: readonly ByteEncoding[] = [...latin1Like, encoding("iso-8859-2", false), encoding("macroman", false), encoding("cp437", false)];

const byteOf = new Map(byteEncodings.map(({ name, characters }) => [name, new Map(characters.map((character, byte) => [character, byte]))]));

/** The bytes of `text` as a string of the characters U+0000 to U+00FF, or undefined when a character is not in the encoding. */
export function encodeBytes(text: string, { name }: ByteEncoding): string | undefined {
  const bytes = byteOf.get(name)!;
  let encoded = "";
  for (let i = 0; i < text.length; i++) {
    const byte = bytes.get(text[i]!);
    if (byte === undefined) return undefined;
    encoded += String.fromCharCode(byte);
  }
  return encoded;
}
