import { uniform } from "@tastemaker/tensor";
import { meanOf, studentQuantile } from "../report/paired-statistics.ts";
import { normalCdf, normalQuantile } from "./normal-distribution.ts";

export interface BootstrapOptions {
  /** Address of the draws: equal seeds give equal intervals, bit for bit, on every machine. */
  readonly seed: number;
  readonly resamples: number;
}

/** An interval of confidence. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Samples whose random numbers share an address: an address costs as much as a few hundred numbers. */
const samplesPerDraw = 100;

/**
 * Means of bootstrap samples. Clusters are drawn with replacement and taken whole.
 *
 * @param series Lists of one number per cluster, all of one length C. Sample b draws the same clusters for every list.
 * @returns `resamples` means per list, in the order of drawing.
 */
export function bootstrapMeans(series: readonly (readonly number[])[], { seed, resamples }: BootstrapOptions): Float64Array[] {
  const clusters = series[0]?.length ?? 0;
  const values = series.map((list) => Float64Array.from(list));
  const means = series.map(() => new Float64Array(resamples));
  const drawn = new Uint32Array(samplesPerDraw * clusters);
  for (let start = 0; start < resamples; start += samplesPerDraw) {
    const draws = uniform({ seed, stream: "evaluation/bootstrap", indices: [start / samplesPerDraw] }, drawn.length);
    for (let i = 0; i < drawn.length; i++) drawn[i] = Math.floor(draws[i]! * clusters);
    for (const [index, list] of values.entries()) {
      for (let sample = 0; sample < Math.min(samplesPerDraw, resamples - start); sample++) {
        let sum = 0;
        for (let i = sample * clusters; i < (sample + 1) * clusters; i++) sum += list[drawn[i]!]!;
        means[index]![start + sample] = sum / clusters;
      }
    }
  }
  return means;
}

/**
 * The 95 % interval of a mean from its bootstrap means: bias-corrected and accelerated (BCa), with levels expanded for few clusters.
 *
 * z₀ = Φ⁻¹(share of bootstrap means below the mean); a = Σd³ / (6 (Σd²)^{3/2}) with d the deviations from the mean (the jackknife's acceleration, which for a mean has
 * this closed form); level(z) = Φ(z₀ + (z₀ + z)/(1 − a(z₀ + z))). Source: Efron, "Better bootstrap confidence intervals", JASA 82, 1987. Instead of z = ±1.96, z is
 * ±√(C/(C−1)) · t with t the 97.5 % quantile of Student's distribution with C−1 degrees of freedom, because bootstrap means of C clusters spread too little; source:
 * Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69(4), 2015.
 *
 * @param values One number per cluster.
 * @returns undefined below two clusters.
 */
export function intervalOfMean(values: readonly number[], means: Float64Array): Interval | undefined {
  const clusters = values.length;
  if (clusters < 2) return undefined;
  const mean = meanOf(values);
  const sorted = Float64Array.from(means).sort();
  const largest = Math.max(...values.map((value) => Math.abs(value - mean)));
  if (largest === 0) return { low: mean, high: mean };
  let [squares, cubes] = [0, 0];
  for (const value of values) {
    // Relative to the largest, so that tiny numbers do not vanish when they are multiplied.
    const deviation = (value - mean) / largest;
    squares += deviation ** 2;
    cubes += deviation ** 3;
  }
  let below = 0;
  // A sample whose mean is this very mean may be off by rounding.
  const equal = 1e-12 * largest;
  for (const value of sorted) below += Math.abs(value - mean) <= equal ? 0.5 : Number(value < mean);
  const z0 = normalQuantile(below / sorted.length);
  const acceleration = cubes / (6 * squares ** 1.5);
  const reach = Math.sqrt(clusters / (clusters - 1)) * studentQuantile(clusters - 1);
  const at = (z: number): number => {
    const shifted = z0 + z;
    const rest = 1 - acceleration * shifted;
    // A pole of the formula, beyond which levels would run backwards: only with very few and very skewed clusters.
    return rest <= 0 ? Number(shifted > 0) : normalCdf(z0 + shifted / rest);
  };
  const last = sorted.length - 1;
  return {
    low: sorted[Math.min(last, Math.max(0, Math.floor(at(-reach) * sorted.length)))]!,
    high: sorted[Math.min(last, Math.max(0, Math.ceil(at(reach) * sorted.length) - 1))]!,
  };
}
