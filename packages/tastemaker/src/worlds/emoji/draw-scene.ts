import { uniform } from "@tastemaker/tensor";
import { isBackgroundHeldOut, isClash, isPairHeldOut, trainingColors } from "./held-out.ts";
import type { Scene } from "./scene.ts";
import { colors, objects, styles, unsaidColor, type SizeName } from "./vocabulary.ts";

/** `training`: never shows a held-out combination. `held-out`: always does (object on colour for singles, object with object for pairs). */
export type Split = "training" | "held-out";

const pairShare = 0.3;
const unsaidBackgroundShare = 0.08;
const gradientShare = 0.15;
const saidStyleShare = 0.7;
const smallShare = 0.2;
const bigShare = 0.3;

const words: readonly string[] = objects.map(({ word }) => word);

function pick<T>(list: readonly T[], draw: number): T {
  return list[Math.floor(draw * list.length)]!;
}

/** All held-out (object, colour) that can be seen, in the order of the lists. */
export function heldOutSingles(): [object: string, color: string][] {
  return words.flatMap((object) =>
    colors
      .map(({ word }): [string, string] => [object, word])
      .filter(([, color]) => isBackgroundHeldOut(object, color) && !isClash(object, color)),
  );
}

/** All held-out pairs of objects, each once, in the order of the list. */
export function heldOutPairs(): [a: string, b: string][] {
  return words.flatMap((a, i) =>
    words
      .slice(i + 1)
      .filter((b) => isPairHeldOut(a, b))
      .map((b): [string, string] => [a, b]),
  );
}

const singlesHeldOut: readonly [string, string][] = heldOutSingles();
const pairsHeldOut: readonly [string, string][] = heldOutPairs();

/**
 * The `index`-th scene of a stream: a pure function of (split, seed, stream, index).
 *
 * 30 % pairs; singles are 20 % small, 30 % big; 8 % leave the (white) background unsaid, 15 % are gradients; styles are
 * equally frequent and said in 70 %.
 */
export function drawScene(
  split: Split,
  address: { seed: number | bigint; stream: string; index: number },
): Scene {
  const draws = uniform(
    {
      seed: address.seed,
      stream: `emoji-scene/${split}/${address.stream}`,
      indices: [address.index],
    },
    12,
  );
  const isPair = draws[0]! < pairShare;
  const style = styles[Math.floor(draws[1]! * styles.length)]!.word;
  const isStyleSaid = draws[2]! < saidStyleShare;
  const size: SizeName =
    isPair || draws[3]! >= smallShare + bigShare
      ? "normal"
      : draws[3]! < smallShare
        ? "small"
        : "big";

  let shown: readonly string[];
  let background: readonly string[];
  let isBackgroundSaid = true;
  if (split === "held-out" && !isPair) {
    const [object, color] = pick(singlesHeldOut, draws[4]!);
    shown = [object];
    background = [color];
  } else {
    if (split === "held-out") {
      const pair = pick(pairsHeldOut, draws[4]!);
      shown = draws[5]! < 0.5 ? pair : [pair[1], pair[0]];
    } else if (isPair) {
      const first = pick(words, draws[4]!);
      const second = pick(
        words.filter((other) => other !== first && !isPairHeldOut(first, other)),
        draws[5]!,
      );
      shown = [first, second];
    } else {
      shown = [pick(words, draws[4]!)];
    }
    const allowed = trainingColors(shown);
    isBackgroundSaid = draws[6]! >= unsaidBackgroundShare;
    const top = isBackgroundSaid ? pick(allowed, draws[7]!) : unsaidColor;
    const others = allowed.filter((color) => color !== top);
    const isGradient = isBackgroundSaid && others.length > 0 && draws[8]! < gradientShare;
    background = isGradient ? [top, pick(others, draws[9]!)] : [top];
  }
  return {
    objects: shown,
    size,
    background,
    style,
    said: { background: isBackgroundSaid, style: isStyleSaid },
  };
}
