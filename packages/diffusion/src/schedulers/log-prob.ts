import { UsageError } from "@tastemaker/tensor";

/**
 * The numbers of a Gaussian step's log-density per element: log π(x'|x) = quadratic·(x' − μ)² + constant with
 * quadratic = −1/(2σ²), constant = −log σ − ½ log 2π. Averaged (or summed) over the elements of the latent by the caller.
 * Throws `UsageError` for σ = 0: a deterministic step has no density.
 */
export function gaussianLogProbTerms(sigma: number): { readonly quadratic: number; readonly constant: number } {
  if (!(sigma > 0)) throw new UsageError("deterministic-step", `log-probability: expected a step with sigma above 0, got ${sigma}`, "use eta above 0, or leave the last step out");
  return { quadratic: -1 / (2 * sigma * sigma), constant: -Math.log(sigma) - 0.5 * Math.log(2 * Math.PI) };
}

/** log π of one sample, reduced over all its elements. */
export function gaussianLogProb(sample: ArrayLike<number>, mean: ArrayLike<number>, sigma: number, reduction: "mean" | "sum" = "mean"): number {
  const { quadratic, constant } = gaussianLogProbTerms(sigma);
  let total = 0;
  for (let i = 0; i < sample.length; i++) total += quadratic * (sample[i]! - mean[i]!) ** 2 + constant;
  return reduction === "mean" ? total / sample.length : total;
}
