import { bell, goldTaste } from "./gold-taste.ts";
import type { JudgeHead } from "./judge.ts";
import type { Verdict } from "./judge-network.ts";
import type { Scene } from "./scene.ts";
import { styles } from "./vocabulary.ts";

/** What the annotator sees of a picture. */
export interface GoldOpinion {
  /** How much of the prompt's objects and background it shows, 0..1. */
  readonly content: number;
  /** Visual taste, whatever the prompt: −2 for a dull picture, 16 at best. */
  readonly appeal: number;
  /** What pairs are decided by: appeal, less what a wrong picture costs. */
  readonly preference: number;
}

const preferredStyle = "glossy";
const styleWeight = 1;
const compositionWeight = 1;
const offCentreWidth = 0.15;
/** Of the whole appeal, so that taste decides between pictures that are right. */
const appealWeight = 2;
const contentCost = 6;
const wrongStyleCost = 2;

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

/** Whether people see what a network gives a probability: fully from one half on. How sure it is beyond that is the network's own affair. */
function recognised(probability: number): number {
  return Math.min(1, 2 * probability);
}

/**
 * The people of the emoji world: what "actual human preference" is measured by. No training sees it; rewards are fitted to its noisy choices between pairs.
 *
 * appeal = 2·(3·bell(colourfulness; .5, .18) + 3·bell(contrast; .22, .09) − 6·clipping − 15·max(0, roughness − .06) + P(glossy) + bell(off-centre; 0, .15))
 * preference = appeal − 6·(1 − content) − 2·(1 − style)
 *
 * with bell(x; peak, width) = exp(−½((x − peak)/width)²), content = the product over objects and said colours, and style = that of the said style, of min(1, 2p), p the judge's probability. Every term of the appeal has an
 * optimum inside what pictures can do, so more is not always better; and a picture of something else loses 6, which is more than appeal differs between pictures of the base model.
 *
 * @param pixels [3, size, size], planar RGB in [0, 1]
 */
export function goldOpinion(pixels: Float32Array, { probability, styles: probabilities }: Pick<Verdict, "probability" | "styles">, scene: Scene, size: number = 64): GoldOpinion {
  const glossy = probabilities[styles.findIndex(({ word }) => word === preferredStyle)]!;
  const appeal = appealWeight * (goldTaste(pixels, 1, size) + styleWeight * glossy + compositionWeight * bell(offCentre(pixels, size), 0, offCentreWidth));
  const shown: readonly JudgeHead[] = ["left", "right", ...(scene.said.background ? (["top", "bottom"] as const) : [])];
  const content = shown.reduce((product, head) => product * recognised(probability[head]), 1);
  const style = scene.said.style ? recognised(probability.style) : 1;
  return { content, appeal, preference: appeal - contentCost * (1 - content) - wrongStyleCost * (1 - style) };
}
