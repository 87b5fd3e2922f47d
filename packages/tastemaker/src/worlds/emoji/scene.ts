import { UsageError, unknownNameError } from "@tastemaker/tensor";
import { colors, objects, styles, unsaidColor, type SizeName } from "./vocabulary.ts";

/** What a picture shows, and which of it the caption says. Words are those of `vocabulary.ts`. */
export interface Scene {
  /** One object, or two different ones from left to right. */
  readonly objects: readonly string[];
  /** `normal` for pairs. */
  readonly size: SizeName;
  /** One colour, or two from top to bottom. */
  readonly background: readonly string[];
  readonly style: string;
  /** An unsaid background is white; an unsaid style is any style. */
  readonly said: { readonly background: boolean; readonly style: boolean };
}

const objectWords: readonly string[] = objects.map(({ word }) => word);
const colorWords: readonly string[] = colors.map(({ word }) => word);
const styleWords: readonly string[] = styles.map(({ word }) => word);

function withArticle(phrase: string): string {
  return `${/^[aeiou]/.test(phrase) ? "an" : "a"} ${phrase}`;
}

/** The caption of a scene: `a [small|big] OBJ [next to a OBJ2] [on a BG[ to BG2] background] [, STYLE style]`, with "an" before vowels. */
export function printCaption(scene: Scene): string {
  const size = scene.size === "normal" ? "" : `${scene.size} `;
  let caption = withArticle(size + scene.objects[0]!);
  if (scene.objects[1] !== undefined) caption += ` next to ${withArticle(scene.objects[1])}`;
  if (scene.said.background)
    caption += ` on ${withArticle(scene.background.join(" to "))} background`;
  if (scene.said.style) caption += `, ${scene.style} style`;
  return caption;
}

/**
 * Reads a caption back. Case, repeated spaces and "a"/"an" do not matter. What the caption leaves open comes back as
 * the white background and the first style, with `said` false.
 *
 * @throws UsageError `caption-syntax` where the text leaves the grammar, `unknown-name` for an unknown object, colour or style.
 */
export function parseCaption(caption: string): Scene {
  const words = caption.toLowerCase().replaceAll(",", " , ").trim().split(/\s+/);
  let at = 0;
  const syntaxError = (expected: string): UsageError =>
    new UsageError(
      "caption-syntax",
      `caption "${caption.slice(0, 200)}": expected ${expected}, got ${words[at] === undefined ? "the end" : `"${words[at]}"`} (at word ${at + 1})`,
      "captions read like: a small cat on a blue background, flat style",
    );
  const accept = (...options: string[]): string | undefined =>
    options.includes(words[at] ?? "") ? words[at++] : undefined;
  const expect = (...options: string[]): string => {
    const word = accept(...options);
    if (word === undefined) throw syntaxError(options.map((option) => `"${option}"`).join(" or "));
    return word;
  };
  const known = (what: string, list: readonly string[]): string => {
    const word = words[at];
    if (word === undefined) throw syntaxError(`the name of ${what}`);
    if (!list.includes(word)) throw unknownNameError(what, word, list);
    at++;
    return word;
  };

  expect("a", "an");
  const size = (accept("small", "big") ?? "normal") as SizeName;
  const shown = [known("an object", objectWords)];
  if (accept("next") !== undefined) {
    if (size !== "normal")
      throw new UsageError(
        "caption-syntax",
        `caption "${caption.slice(0, 200)}": expected no size word for a pair, got "${size}"`,
      );
    expect("to");
    expect("a", "an");
    shown.push(known("an object", objectWords));
    if (shown[0] === shown[1])
      throw new UsageError(
        "caption-syntax",
        `caption "${caption.slice(0, 200)}": expected two different objects, got "${shown[0]}" twice`,
      );
  }
  let background: string[] = [unsaidColor];
  const isBackgroundSaid = accept("on") !== undefined;
  if (isBackgroundSaid) {
    expect("a", "an");
    background = [known("a colour", colorWords)];
    if (accept("to") !== undefined) background.push(known("a colour", colorWords));
    if (background[0] === background[1])
      throw new UsageError(
        "caption-syntax",
        `caption "${caption.slice(0, 200)}": expected two different colours, got "${background[0]}" twice`,
      );
    expect("background");
  }
  let style = styleWords[0]!;
  const isStyleSaid = accept(",") !== undefined;
  if (isStyleSaid) {
    style = known("a style", styleWords);
    expect("style");
  }
  if (at < words.length) throw syntaxError("the end");
  return {
    objects: shown,
    size,
    background,
    style,
    said: { background: isBackgroundSaid, style: isStyleSaid },
  };
}

/** Whether a picture of `shown` is as the caption of `told` says: an unsaid style may be any, an unsaid background is white. */
export function isTrueOf(told: Scene, shown: Scene): boolean {
  const isSame = (a: readonly string[], b: readonly string[]): boolean => a.length === b.length && a.every((word, i) => word === b[i]);
  return isSame(told.objects, shown.objects) && told.size === shown.size && isSame(told.background, shown.background) && (!told.said.style || told.style === shown.style);
}
