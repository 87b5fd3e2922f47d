import { UsageError, uniform } from "@tastemaker/tensor";

/** What the gold taste sees in the pixels. */
export interface PictureStatistics {
  /** Hasler & Süsstrunk 2003 on [0, 1] channels: 0 for gray pictures, about .3 for a usual one, over .8 for garish ones. */
  readonly colourfulness: number;
  /** Standard deviation of the luma, 0...5. */
  readonly contrast: number;
  /** Share of channel values within 2/255 of black or white. */
  readonly clipping: number;
  /** Mean |Laplacian| of the luma: noise and jagged edges. */
  readonly roughness: number;
}

/** Statistics of one picture, [3, size, size], planar RGB in [0, 1]. */
export function pictureStatistics(pixels: Float32Array, size: number = 64): PictureStatistics {
  const plane = size * size;
  const luma = new Float64Array(plane);
  const sums = { rg: 0, rg2: 0, yb: 0, yb2: 0, y: 0, y2: 0 };
  let clipped = 0;
  for (let p = 0; p < plane; p++) {
    const [r, g, b] = [pixels[p]!, pixels[p + plane]!, pixels[p + 2 * plane]!];
    for (const channel of [r, g, b]) if (channel <= 2 / 255 || channel >= 253 / 255) clipped++;
    const y = 0.299 * r + 0.587 * g + 0.114 * b;
    luma[p] = y;
    sums.rg += r - g;
    sums.rg2 += (r - g) ** 2;
    sums.yb += (r + g) / 2 - b;
    sums.yb2 += ((r + g) / 2 - b) ** 2;
    sums.y += y;
    sums.y2 += y * y;
  }
  let laplacian = 0;
  for (let row = 1; row < size - 1; row++) {
    for (let x = 1; x < size - 1; x++) {
      const p = row * size + x;
      laplacian += Math.abs(
        4 * luma[p]! - luma[p - 1]! - luma[p + 1]! - luma[p - size]! - luma[p + size]!,
      );
    }
  }
  const variance = (sum: number, squares: number): number =>
    Math.max(0, squares / plane - (sum / plane) ** 2);
  return {
    colourfulness:
      Math.sqrt(variance(sums.rg, sums.rg2) + variance(sums.yb, sums.yb2)) +
      0.3 * Math.hypot(sums.rg / plane, sums.yb / plane),
    contrast: Math.sqrt(variance(sums.y, sums.y2)),
    clipping: clipped / (3 * plane),
    roughness: laplacian / (size - 2) ** 2,
  };
}

/**
 * Constants of the taste. On real renders colourfulness is .35 ± .12, contrast .14 ± .06, clipping .03 ± .05, roughness .045 ± .024: the taste likes
 * pictures about one deviation more colourful and contrasty than usual, and no more than that.
 */
const colourfulnessPeak = 0.5;
const colourfulnessWidth = 0.18;
const contrastPeak = 0.22;
const contrastWidth = 0.09;
const peakHeight = 3;
const clippingCost = 6;
const roughnessAllowed = 0.06;
const roughnessCost = 15;
const contentWeight = 6;

/** 1 at the peak, falling off as a bell. */
export function bell(value: number, peak: number, width: number): number {
  return Math.exp(-(((value - peak) / width) ** 2) / 2);
}

/**
 * The hidden preference that stands for people in the emoji world:
 *
 * 3·bell(colourfulness; .5, .18) + 3·bell(contrast; .22, .09) − 6·clipping − 15·max(0, roughness − .06) − 6·(1 − matchProbability)
 *
 * with bell(x; peak, width) = exp(−½((x − peak)/width)²). Peaked, so that more is not always better, and it looks at content: the pixels can earn
 * at most 6, which a picture of something else loses again. A reward head that sees pixels only cannot learn that, which is how reward hacking
 * shows. Rewards are trained on its noisy choices (`drawPreference`), never on itself.
 *
 * @param pixels [3, size, size], planar RGB in [0, 1]
 * @param matchProbability how likely the picture shows what the prompt says, 0..1: 1 for real renders, the judge's probability for generated ones
 */
export function goldTaste(
  pixels: Float32Array,
  matchProbability: number,
  size: number = 64,
): number {
  if (!(matchProbability >= 0 && matchProbability <= 1)) {
    throw new UsageError(
      "match-probability",
      `gold taste: expected a match probability in 0..1, got ${matchProbability}`,
    );
  }
  const { colourfulness, contrast, clipping, roughness } = pictureStatistics(pixels, size);
  return (
    peakHeight * bell(colourfulness, colourfulnessPeak, colourfulnessWidth) +
    peakHeight * bell(contrast, contrastPeak, contrastWidth) -
    clippingCost * clipping -
    roughnessCost * Math.max(0, roughness - roughnessAllowed) -
    contentWeight * (1 - matchProbability)
  );
}

/** Bradley–Terry: the probability that the first of two pictures is preferred, σ(goldA − goldB). */
export function preferenceProbability(goldA: number, goldB: number): number {
  return 1 / (1 + Math.exp(goldB - goldA));
}

/** One noisy choice between two pictures, a pure function of (seed, index): true when the first wins. */
export function drawPreference(
  goldA: number,
  goldB: number,
  address: { seed: number | bigint; index: number },
): boolean {
  const [draw] = uniform(
    { seed: address.seed, stream: "gold-preference", indices: [address.index] },
    1,
  );
  return draw! < preferenceProbability(goldA, goldB);
}
