/** Nodes and weights of Gaussian quadrature: E f(z) ≈ Σ weights[k]·f(nodes[k]) for z ~ N(0, 1), exact for polynomials of degree 2n − 1. */
export interface GaussHermite {
  /** Increasing, symmetric about 0. */
  readonly nodes: Float64Array;
  /** Positive, sum 1. */
  readonly weights: Float64Array;
}

/** Values p_0(z) … p_n(z) of the polynomials that are orthonormal under N(0, 1). */
function orthonormalHermite(z: number, n: number): Float64Array {
  const p = new Float64Array(n + 1);
  p[0] = 1;
  for (let j = 0; j < n; j++) p[j + 1] = (z * p[j]! - Math.sqrt(j) * (p[j - 1] ?? 0)) / Math.sqrt(j + 1);
  return p;
}

/** Zeros of p_n above z: the sign changes of p_0(z) … p_n(z), a Sturm sequence. */
function zerosAbove(z: number, n: number): number {
  const p = orthonormalHermite(z, n);
  let changes = 0;
  for (let j = 1; j <= n; j++) if (p[j]! < 0 !== p[j - 1]! < 0) changes++;
  return changes;
}

/**
 * n-point Gauss–Hermite quadrature for the standard normal distribution: each zero by bisection on its Sturm count, then Newton; weights 1/Σ_(j<n) p_j(z)².
 * Source: Golub & Welsch 1969, §2; Christoffel–Darboux.
 */
export function gaussHermite(n: number): GaussHermite {
  const nodes = new Float64Array(n);
  const weights = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    // All zeros lie within 2√n.
    let [low, high] = [-2 * Math.sqrt(n), 2 * Math.sqrt(n)];
    while (high - low > 1e-6) {
      const middle = (low + high) / 2;
      if (zerosAbove(middle, n) >= n - k) low = middle;
      else high = middle;
    }
    let z = (low + high) / 2;
    for (let i = 0; i < 3; i++) {
      const p = orthonormalHermite(z, n);
      z -= p[n]! / (Math.sqrt(n) * p[n - 1]!);
    }
    nodes[k] = z;
    weights[k] = 1 / orthonormalHermite(z, n).subarray(0, n).reduce((total, value) => total + value * value, 0);
  }
  return { nodes, weights };
}
