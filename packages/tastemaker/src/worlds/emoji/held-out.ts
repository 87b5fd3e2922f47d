import { colors, objects, unsaidColor } from "./vocabulary.ts";

/** One object on one colour in this many is held out. */
const backgroundModulus = 12;
/** One unordered pair of objects in this many is held out. */
const pairModulus = 10;

/** FNV-1a, 32 bits, of a string's UTF-16 units (all names are ASCII); http://www.isthe.com/chongo/tech/comp/fnv. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  // One round of mixing, because the low bits of FNV-1a of short words are not even.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** True when no training picture may show this object on this colour (also as half of a gradient, in a pair, or unsaid).
 * White is never held out, because it is what a caption without a colour means. */
export function isBackgroundHeldOut(object: string, color: string): boolean {
  return color !== unsaidColor && fnv1a(`${object} on ${color}`) % backgroundModulus === 0;
}

/** True when no training picture may show these two objects together, in either order. */
export function isPairHeldOut(a: string, b: string): boolean {
  return fnv1a(a < b ? `${a} with ${b}` : `${b} with ${a}`) % pairModulus === 0;
}

/** True when the object nearly disappears on the colour in some style; such pictures exist in no list. */
export function isClash(object: string, color: string): boolean {
  return objects.some(({ word, clashes }) => word === object && clashes.includes(color));
}

/** Colours on which all of `shown` can be seen and none is held out: the backgrounds of training. */
export function trainingColors(shown: readonly string[]): string[] {
  return colors
    .map(({ word }) => word)
    .filter((color) =>
      shown.every((object) => !isClash(object, color) && !isBackgroundHeldOut(object, color)),
    );
}

/** True when the scene may appear in training. */
export function isTrainingCombination(
  shown: readonly string[],
  background: readonly string[],
): boolean {
  const allowed = trainingColors(shown);
  return (
    background.every((color) => allowed.includes(color)) &&
    (shown[1] === undefined || !isPairHeldOut(shown[0]!, shown[1]))
  );
}
