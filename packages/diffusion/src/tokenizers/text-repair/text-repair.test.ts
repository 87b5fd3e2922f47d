import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { byteEncodings, encodeBytes } from "./byte-encodings.ts";
import { fixEncoding } from "./fix-encoding.ts";
import { fixText } from "./fix-text.ts";
import { unescapeHtml } from "./html-entities.ts";

/** `text` as a reader of the wrong encoding shows its UTF-8. */
function misread(text: string, name: string): string {
  const { characters } = byteEncodings.find((encoding) => encoding.name === name)!;
  return Array.from(new TextEncoder().encode(text), (byte) => characters[byte]!).join("");
}

/** Any sequence of UTF-16 code units, also halves of surrogate pairs, with more of the characters that the repairs look for. */
const anyText: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary", maxLength: 6 }),
      fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
      fc.constantFrom("Ã", "Â", "â€", "\u00a0", " ", "ð", "\ufffd", "&amp;", "&#x", "&#0;", "<", "\n", "\r", "\u0085", "\u001b[0m", "\ud83d", "\ude00", "í\u00a0\u00bd"),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(""));

describe("fixText", () => {
  // Expected values are those of ftfy 6.3.1.
  it.each([
    ["â\u0153\u201d No problems", "✔ No problems"],
    ["&macr;\\_(ã\u0083\u0084)_/&macr;", "¯\\_(ツ)_/¯"],
    ["l’humanitÃ©", "l'humanité"],
    ["PokÃ\u00a0mon", "Pokàmon"],
    ["Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "привет"],
    ["РїСЂРёРІРµС‚", "привет"],
    ["ã‚¢ã\u0083¡", "アメ"],
    ["√© MacRoman", "é MacRoman"],
    ["ÃƒÂ©tÃƒÂ©", "été"],
    ["Â© Â® 20Â°", "© ® 20°"],
  ])("decodes the mojibake %j", (text, expected) => {
    expect(fixText(text)).toBe(expected);
  });

  it("puts back the no-break space that became a space, and knows the words with à", () => {
    expect(fixText("voilÃ le travail")).toBe("voilà le travail");
    expect(fixText("Ã la mode")).toBe("à la mode");
    expect(fixText("Ã s vezes")).toBe("às vezes");
  });

  it("replaces what was lost, decodes parts of a text, and CESU-8", () => {
    expect(fixText("â€œ like this â€\ufffd")).toBe('" like this \ufffd');
    expect(fixText("Ã©tÃ© — déjà vu")).toBe("été — déjà vu");
    expect(fixText("í\u00a0½í¸\u0080")).toBe("😀");
  });

  it.each(["(°ʖ°) Ò_Ó", "3 × 4 µm ²", "Å café in Malmö", "½ π ≈ 1,57", "东京 – Tōkyō", "Ôªø"])("leaves %j alone", (text) => {
    expect(fixText(text)).toBe(text);
  });

  it("straightens quotes, ligatures, widths, accents and line breaks", () => {
    expect(fixText("Broken text&hellip; it&#x2019;s \ufb02ubberi\ufb01c!")).toBe("Broken text… it's flubberific!");
    expect(fixText("ＬＯＵＤ\u3000ＮＯＩＳＥＳ ﾊﾞ")).toBe("LOUD NOISES バ");
    expect(fixText("ǆ Ĳ ŉ “¿qué?” e\u0301")).toBe("d\u017e IJ 'n \"¿qué?\" é");
    expect(fixText("x\r\ny\rz\u2028w")).toBe("x\ny\nz\nw");
    expect(fixText("\u0085 \u0093quoted\u0094")).toBe('… "quoted"');
  });

  it("removes escape sequences and invisible characters", () => {
    expect(fixText("\u001b[36;44mblue\u001b[0m")).toBe("blue");
    expect(fixText("a\0b\u0007c\u007fd\ufeffe\ufff9f")).toBe("abcdef");
    expect(fixText("\ud83d x \ude00\ud83d 😀")).toBe("\ufffd x \ufffd\ufffd 😀");
  });

  it("decodes clear HTML entities until a line holds <", () => {
    expect(fixText("&amp; one\n<i> &amp;\n&amp; three")).toBe("& one\n<i> &amp;\n&amp; three");
    expect(fixText("P&EACUTE;REZ BUNDESSTRA&SZLIG;E &nTILDE; &NotANentity; &AMP &#59; &#x41;")).toBe("PÉREZ BUNDESSTRASSE &nTILDE; &NotANentity; &AMP &#59; A");
  });

  it("never throws, and leaves one line without entities as it is when asked again", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const fixed = fixText(text);
        // Line breaks and entities that appear make new lines and new work.
        if (!/[&\n]/.test(fixed)) expect(fixText(fixed)).toBe(fixed);
        expect(fixed).not.toMatch(/\p{Surrogate}/u);
        expect(fixed.normalize("NFC")).toBe(fixed);
      }),
      { numRuns: 2000, seed: 11 },
    );
  });

  it("repairs long lines, which are cut after a million characters", () => {
    const text = "Ã©".repeat(600_000);
    expect(fixText(text)).toBe("é".repeat(600_000));
    expect(fixText(`${"😀".repeat(999_999)}Ã©`)).toBe(`${"😀".repeat(999_999)}Ã©`);
  });
});

describe("fixEncoding", () => {
  for (const { name } of byteEncodings) {
    it(`undoes reading in ${name}, once and twice`, () => {
      for (const text of ["“Crème brûlée” – naïve 猫 😀", "Größe • Straße…"]) {
        const once = misread(text, name);
        expect(fixEncoding(once)).toBe(text);
        if (encodeBytes(misread(once, "latin-1"), byteEncodings[0]!) !== undefined) expect(fixEncoding(misread(once, "latin-1"))).toBe(text);
      }
    });
  }

  it("gives each encoding 256 different characters", () => {
    for (const { name, characters } of byteEncodings) expect(new Set(characters).size, name).toBe(256);
  });
});

describe("unescapeHtml", () => {
  // Expected values are those of Python's html.unescape.
  it.each([
    ["&notit;", "¬it;"],
    ["&notanentity;", "¬anentity;"],
    ["&lt", "<"],
    ["&ltx", "<x"],
    ["&amp;lt;", "&lt;"],
    ["&copy2024;", "©2024;"],
    ["&CounterClockwiseContourIntegral;", "∳"],
    ["&Counter", "&Counter"],
    ["&fjlig;", "fj"],
    ["&#128;&#x41&#66;", "€AB"],
    ["&#0;&#xD800;&#x110000;", "\ufffd\ufffd\ufffd"],
    ["&#11;&#xFFFE;&#xfdd0;", ""],
    ["&#13;", "\r"],
    ["&;&#;&#x;&", "&;&#;&#x;&"],
    [`&#${"9".repeat(5000)};`, "\ufffd"],
  ])("reads %.40j", (text, expected) => {
    expect(unescapeHtml(text)).toBe(expected);
  });

  it("never throws and keeps text without an ampersand", () => {
    fc.assert(fc.property(anyText, (text) => text.includes("&") || unescapeHtml(text) === text), { numRuns: 500, seed: 12 });
  });
});
