/** Mean of a list; NaN when it is empty. */
export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Standard error of the mean, s/√n with n−1 in s; NaN below two values. */
export function standardErrorOf(values: readonly number[]): number {
  if (values.length < 2) return Number.NaN;
  const mean = meanOf(values);
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}

/**
 * 97.5 % quantile of Student's t with `degrees` degrees of freedom (≥ 1).
 * Exact for 1 and 2, then the Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5), within 0.2 % from 3 on.
 */
export function studentQuantile(degrees: number): number {
  if (degrees === 1) return 12.7062;
  if (degrees === 2) return 4.30265;
  const z = 1.959964;
  const g1 = (z ** 3 + z) / 4;
  const g2 = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const g3 = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  const g4 = (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160;
  return z + g1 / degrees + g2 / degrees ** 2 + g3 / degrees ** 3 + g4 / degrees ** 4;
}

/** A comparison of two lists whose entries belong together. */
export interface PairedComparison {
  readonly n: number;
  readonly base: number;
  readonly baseError: number;
  readonly tuned: number;
  readonly tunedError: number;
  /** Mean of tuned − base, its standard error and its 95 % interval. */
  readonly difference: number;
  readonly differenceError: number;
  readonly low: number;
  readonly high: number;
  /** Share of pairs in which tuned is larger; ties count half. */
  readonly wins: number;
}

/** Compares two lists pair by pair; errors and interval are NaN below two pairs. */
export function comparePairs(base: readonly number[], tuned: readonly number[]): PairedComparison {
  const differences = tuned.map((value, index) => value - base[index]!);
  const n = differences.length;
  const difference = meanOf(differences);
  const differenceError = standardErrorOf(differences);
  const reach = n < 2 ? Number.NaN : studentQuantile(n - 1) * differenceError;
  return {
    n,
    base: meanOf(base),
    baseError: standardErrorOf(base),
    tuned: meanOf(tuned),
    tunedError: standardErrorOf(tuned),
    difference,
    differenceError,
    low: difference - reach,
    high: difference + reach,
    wins: meanOf(differences.map((value) => (value > 0 ? 1 : value < 0 ? 0 : 0.5))),
  };
}

/** ln B(ν/2, 1/2), by the recursion B(a + 1, b) = B(a, b)·a/(a + b) from B(1/2, 1/2) = π or B(1, 1/2) = 2. */
function logBetaHalf(degrees: number): number {
  let sum = degrees % 2 === 1 ? Math.log(Math.PI) : Math.log(2);
  for (let a = degrees % 2 === 1 ? 0.5 : 1; a < degrees / 2; a++) sum += Math.log(a / (a + 0.5));
  return sum;
}

/**
 * Continued fraction of the incomplete beta function I_x(a, b), without its factor x^a (1 − x)^b / (a B(a, b)): DLMF 8.17.22, evaluated from the front
 * by the modified Lentz method. Converges fast for x < (a + 1)/(a + b + 2).
 */
function betaFraction(x: number, a: number, b: number): number {
  const tiny = 1e-300;
  let [value, c, d] = [1, 1, 0];
  for (let n = 1; n < 1000; n++) {
    const m = Math.floor(n / 2);
    const term = n % 2 === 0 ? (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)) : (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + term * d || tiny);
    c = 1 + term / c || tiny;
    value *= c * d;
    if (Math.abs(c * d - 1) < 1e-15) break;
  }
  return 1 / value;
}

/**
 * P(T ≥ t) of Student's t with a whole number of degrees of freedom ≥ 1, also far out in the tail: ½ I_x(ν/2, ½) with x = ν/(ν + t²)
 * (Abramowitz and Stegun 26.7.1).
 */
export function studentTail(t: number, degrees: number): number {
  if (Number.isNaN(t)) return Number.NaN;
  if (t < 0) return 1 - studentTail(-t, degrees);
  if (t === Number.POSITIVE_INFINITY) return 0;
  const a = degrees / 2;
  const b = 0.5;
  const x = degrees / (degrees + t * t);
  const y = (t * t) / (degrees + t * t);
  const logFactor = a * Math.log(x) + b * Math.log(y) - logBetaHalf(degrees);
  if (x < (a + 1) / (a + b + 2)) return (0.5 * Math.exp(logFactor) * betaFraction(x, a, b)) / a;
  return 0.5 * (1 - (Math.exp(logFactor) * betaFraction(y, b, a)) / b);
}
