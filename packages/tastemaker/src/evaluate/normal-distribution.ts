/**
 * Φ(x), the standard normal distribution function, to about 1e-15 for |x| < 7 (0 or 1 beyond 8).
 * Source: Marsaglia, "Evaluating the normal distribution", Journal of Statistical Software 11(4), 2004: ½ + φ(x)(x + x³/3 + x⁵/(3·5) + …).
 */
export function normalCdf(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x < -8) return 0;
  if (x > 8) return 1;
  let term = x;
  let sum = x;
  for (let k = 3; sum + term !== sum; k += 2) {
    term *= (x * x) / k;
    sum += term;
  }
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

/** Φ⁻¹(p) by halving, to about 1e-12; ±8 stands for p outside (Φ(−8), Φ(8)). */
export function normalQuantile(p: number): number {
  let [low, high] = [-8, 8];
  for (let step = 0; step < 48; step++) {
    const middle = (low + high) / 2;
    if (normalCdf(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
