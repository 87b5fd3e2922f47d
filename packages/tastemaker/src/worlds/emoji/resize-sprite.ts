import type { Sprite } from "./sprites.ts";

/** Cubic convolution kernel with a = −½ (Keys 1981), as in PIL's BICUBIC. */
function cubic(x: number): number {
  const t = Math.abs(x);
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
  return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
}

/** Antialiased resampling weights from `from` to `to` samples: per output sample, its first input sample and its weights (sum 1). */
function resampleWeights(from: number, to: number): { start: number; weights: number[] }[] {
  const scale = from / to;
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale - 0.5;
    const start = Math.max(0, Math.ceil(centre - 2 * support));
    const end = Math.min(from - 1, Math.floor(centre + 2 * support));
    const raw = Array.from({ length: end - start + 1 }, (_, k) =>
      cubic((start + k - centre) / support),
    );
    const sum = raw.reduce((a, b) => a + b, 0);
    return { start, weights: raw.map((weight) => weight / sum) };
  });
}

/** The sprite at another size, antialiased bicubic on the premultiplied channels; colour never exceeds alpha afterwards. */
export function resizeSprite(sprite: Sprite, width: number, height: number): Sprite {
  const across = resampleWeights(sprite.width, width);
  const rows = new Float64Array(sprite.height * width * 4);
  for (let y = 0; y < sprite.height; y++) {
    for (let x = 0; x < width; x++) {
      const { start, weights } = across[x]!;
      for (let k = 0; k < weights.length; k++) {
        const source = 4 * (y * sprite.width + start + k);
        for (let c = 0; c < 4; c++)
          rows[4 * (y * width + x) + c]! += weights[k]! * sprite.rgba[source + c]!;
      }
    }
  }
  const rgba = new Uint8Array(width * height * 4);
  const down = resampleWeights(sprite.height, height);
  const sum = new Float64Array(4);
  for (let y = 0; y < height; y++) {
    const { start, weights } = down[y]!;
    for (let x = 0; x < width; x++) {
      sum.fill(0);
      for (let k = 0; k < weights.length; k++) {
        const source = 4 * ((start + k) * width + x);
        for (let c = 0; c < 4; c++) sum[c]! += weights[k]! * rows[source + c]!;
      }
      const at = 4 * (y * width + x);
      const alpha = Math.min(255, Math.max(0, Math.round(sum[3]!)));
      for (let c = 0; c < 3; c++) rgba[at + c] = Math.min(alpha, Math.max(0, Math.round(sum[c]!)));
      rgba[at + 3] = alpha;
    }
  }
  return { width, height, rgba };
}
