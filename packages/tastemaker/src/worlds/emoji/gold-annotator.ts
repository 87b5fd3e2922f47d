import { bell, goldTaste } from "./gold-taste.ts";
import { styles } from "./vocabulary.ts";

/** What the annotator sees of a picture; `preference` = `appeal` − 6·(1 − `match`). */
export interface GoldOpinion {
  /** How likely the picture shows what its prompt says, 0..1. */
  readonly match: number;
  /** Visual taste, whatever the prompt: about −2 for a dull picture, 8 at best. */
  readonly appeal: number;
  /** What pairs are decided by: appeal, less what a wrong picture costs. */
  readonly preference: number;
}

/** What another network says of a picture: a `matchProbability`, and probabilities of the styles in the vocabulary's order. */
export interface GoldVerdict {
  readonly match: number;
  readonly styles: readonly number[];
}

const preferredStyle = "glossy";
const styleWeight = 1;
const compositionWeight = 1;
const offCentreWidth = 0.15;

/**
 * How far the subject's centre of mass lies from the middle, in half widths: 0 in the middle, 1 at an edge, at most √2. The subject is what differs from the background, whose colour
 * may change from top to bottom and is read off each row's ends; an empty picture has its subject in the middle.
 *
 * @param pixels [3, size, size], planar RGB in [0, 1]
 */
export function offCentre(pixels: Float32Array, size: number = 64): number {
  const plane = size * size;
  let [mass, massX, massY] = [0, 0, 0];
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      let distance = 0;
      for (let c = 0; c < 3; c++) {
        const row = c * plane + y * size;
        distance += Math.abs(pixels[row + x]! - (pixels[row]! + pixels[row + size - 1]!) / 2);
      }
      // Small differences are texture of the background.
      const weight = Math.max(0, distance / 3 - 0.05);
      mass += weight;
      massX += weight * (x + 0.5);
      massY += weight * (y + 0.5);
    }
  }
  if (mass < 1e-6 * plane) return 0;
  return Math.hypot((2 * massX) / mass / size - 1, (2 * massY) / mass / size - 1);
}

/**
 * The people of the emoji world: what "actual human preference" is measured by. No training sees it; rewards are fitted to its noisy choices between pairs.
 *
 * appeal = 3·bell(colourfulness; .5, .18) + 3·bell(contrast; .22, .09) − 6·clipping − 15·max(0, roughness − .06) + P(glossy) + bell(off-centre; 0, .15)
 * preference = appeal − 6·(1 − match)
 *
 * with bell(x; peak, width) = exp(−½((x − peak)/width)²). Every term of the appeal has an optimum inside what pictures can do, so more is not always better; and a picture that forgets its prompt loses
 * 6, which is more than appeal differs between pictures of the base model.
 *
 * @param pixels [3, size, size], planar RGB in [0, 1]
 * @throws UsageError `match-probability` for a match outside 0..1
 */
export function goldOpinion(pixels: Float32Array, { match, styles: probabilities }: GoldVerdict, size: number = 64): GoldOpinion {
  const style = probabilities[styles.findIndex(({ word }) => word === preferredStyle)]!;
  const extra = styleWeight * style + compositionWeight * bell(offCentre(pixels, size), 0, offCentreWidth);
  return { match, appeal: goldTaste(pixels, 1, size) + extra, preference: goldTaste(pixels, match, size) + extra };
}
