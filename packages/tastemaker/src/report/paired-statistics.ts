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
