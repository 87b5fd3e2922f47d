import {
  type Operand,
  type Tensor,
  UsageError,
  abs,
  add,
  constant,
  div,
  equal,
  less,
  log,
  mean,
  mul,
  neg,
  reshape,
  sigmoid,
  softplus,
  sqrt,
  square,
  stopGradient,
  sub,
  sum,
  tanh,
  unknownNameError,
  where,
} from "@tastemaker/tensor";

import { gaussHermite } from "./gauss-hermite.ts";

/*
 * Divergences between two Gaussian steps of equal covariance σ²I (ROCM, arXiv 2503.06171, §4; specification §3).
 *
 * | symbol | here | meaning |
 * |---|---|---|
 * | δ | `delta` | a (f_θ − f_ref)/σ, `[B, C, H, W]` |
 * | s | `s` | mean or sum of δ² over the D numbers of a latent, `[B]` |
 * | d | √s | distance of the means in standard deviations |
 * | z | | standard normal |
 * | M | `samples` | draws of the sampled estimator |
 *
 * Differs from the paper: its Jensen–Shannon term is estimated by sampling (`js-sampled`); `js` is its value by quadrature, without noise.
 */

export const DIVERGENCES = ["none", "kl", "hellinger", "js", "js-sampled", "fisher"] as const;
export type DivergenceKind = (typeof DIVERGENCES)[number];

/** How the policy's steps are held near the reference's. */
export interface DivergenceSettings {
  readonly kind: DivergenceKind;
  /** s_i is the mean or the sum of δ_i² over the D numbers of a latent. */
  readonly reduction: "mean" | "sum";
  /** Over the N−1 transitions. */
  readonly stepReduction: "sum" | "mean";
  /** true: f_ref(x_i) is a constant. false: gradient flows through x_i into f_ref, the exact gradient. */
  readonly detachReference: boolean;
  /** Draws M of `js-sampled`; ignored by the others. */
  readonly samples: number;
}

/** Number of quadrature nodes of `js`: error below 7e-7 for every s, below 1e-8 for s ≤ 9. */
const JS_NODES = 64;

/** A function of x whose value and first derivative are given apart, so that the value may take branches that autodiff must not see. */
function withSlope(x: Tensor, value: (x: Tensor) => Tensor, slope: (x: Tensor) => Tensor): Tensor {
  const fixed = stopGradient(x);
  return add(value(fixed), mul(slope(fixed), sub(x, fixed)));
}

/** log cosh y, accurate near 0: −½ log1p(−tanh² y) by Kahan's log1p(q) = q·log(w)/(w − 1), w = 1 + q; away from 0 directly. */
function logCosh(y: Tensor): Tensor {
  const q = neg(square(tanh(y)));
  const w = add(q, 1);
  const isOne = equal(w, 1);
  const nearZero = mul(-0.5, where(isOne, q, div(mul(q, log(w)), where(isOne, 1, sub(w, 1)))));
  const size = abs(y);
  return where(less(size, 0.5), nearZero, sub(add(size, softplus(mul(-2, size))), Math.LN2));
}

/** ½ squared distance: KL(θ‖ref) = KL(ref‖θ) = s/2. */
export function klDivergence(s: Tensor): Tensor {
  return mul(s, 0.5);
}

/** Squared Hellinger distance 1 − exp(−s/8), as 2t/(1 + t) with t = tanh(s/16), which keeps every digit near 0. */
export function hellingerDivergence(s: Tensor): Tensor {
  const t = tanh(mul(s, 1 / 16));
  return div(mul(2, t), add(t, 1));
}

/** Fisher divergence E_θ‖∇log π_θ − ∇log π_ref‖² = s/σ². */
export function fisherDivergence(s: Tensor, sigma: Operand): Tensor {
  return div(s, mul(sigma, sigma));
}

/**
 * Jensen–Shannon divergence log 2 − E_z softplus(−(d z + d²/2)) by 64-node Gauss–Hermite quadrature; slope dJS/ds = ½ E sigmoid(−(d z + d²/2))², which needs
 * no division by d. Above s = 1 the slope is the derivative of the quadrature, E sigmoid(−(d z + d²/2))(z/2d + ½): the same to 1e-16 at 1, and three to a hundred times
 * nearer the true slope beyond s = 4. The slope is a constant to a second derivative.
 *
 * Below s = 4 the value is computed as s/4 − E log cosh(½(d z + d²/2)), the same sum without the difference of nearly equal numbers.
 */
export function jsDivergence(s: Tensor): Tensor {
  const { nodes, weights } = gaussHermite(JS_NODES);
  const z = constant(nodes, [1, JS_NODES]);
  const expectation = (values: Tensor): Tensor => sum(mul(values, constant(weights, [1, JS_NODES])), 1);
  const logRatio = (at: Tensor): Tensor => {
    const column = reshape(at, [at.shape[0]!, 1]);
    return add(mul(sqrt(column), z), mul(column, 0.5));
  };
  return withSlope(
    s,
    (at) => {
      const v = logRatio(at);
      const small = sub(mul(at, 0.25), expectation(logCosh(mul(v, 0.5))));
      return where(less(at, 4), small, sub(Math.LN2, expectation(softplus(neg(v)))));
    },
    (at) => {
      const weight = sigmoid(neg(logRatio(at)));
      const distance = sqrt(reshape(at, [at.shape[0]!, 1]));
      return where(less(at, 1), mul(0.5, expectation(square(weight))), expectation(mul(weight, add(div(mul(z, 0.5), distance), 0.5))));
    },
  );
}

/** log 2 − softplus(−v), accurate near 0, with its slope sigmoid(−v). */
function jsTerm(v: Tensor): Tensor {
  return withSlope(
    v,
    (at) => where(less(abs(at), 1), sub(mul(at, 0.5), logCosh(mul(at, 0.5))), sub(Math.LN2, softplus(neg(at)))),
    (at) => sigmoid(neg(at)),
  );
}

/**
 * The paper's estimator of the Jensen–Shannon divergence: log 2 − mean over M draws of softplus(−(p + s/2)), p = Σ_D δ·z (divided by √D for the reduction `mean`).
 * Unbiased, but noisy at s = 0 and sometimes negative.
 *
 * @param noise `[M, B, C, H, W]`, standard normal.
 */
export function sampledJsDivergence(s: Tensor, delta: Tensor, noise: Tensor, reduction: "mean" | "sum"): Tensor {
  const numbers = delta.shape.slice(1).reduce((product, size) => product * size, 1);
  const dot = sum(mul(delta, noise), [2, 3, 4]);
  const p = reduction === "sum" ? dot : mul(dot, 1 / Math.sqrt(numbers));
  return mean(jsTerm(add(p, mul(s, 0.5))), 0);
}

/** What a divergence is computed from. */
export interface DivergenceInputs {
  /** `[B]` */
  readonly s: Tensor;
  /** `[B, C, H, W]` */
  readonly delta: Tensor;
  /** σ of the step that the noise is added for. */
  readonly sigma: Operand;
  /** `[M, B, C, H, W]`, for `js-sampled`. */
  readonly noise?: Tensor | undefined;
}

/**
 * The divergence of one transition, `[B]`.
 *
 * @throws UsageError `divergence-noise` when `js-sampled` gets none, `unknown-name` for an unknown kind.
 */
export function divergenceOf({ kind, reduction }: DivergenceSettings, { s, delta, sigma, noise }: DivergenceInputs): Tensor {
  switch (kind) {
    case "none":
      return mul(s, 0);
    case "kl":
      return klDivergence(s);
    case "hellinger":
      return hellingerDivergence(s);
    case "fisher":
      return fisherDivergence(s, sigma);
    case "js":
      return jsDivergence(s);
    case "js-sampled":
      if (noise === undefined) throw new UsageError("divergence-noise", "divergence: expected noise for js-sampled, got none", "use js, which needs none");
      return sampledJsDivergence(s, delta, noise, reduction);
    default:
      throw unknownNameError("divergence", kind, DIVERGENCES);
  }
}
