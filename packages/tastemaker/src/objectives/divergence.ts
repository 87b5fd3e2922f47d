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
