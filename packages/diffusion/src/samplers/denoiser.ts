import { type Tensor, expand } from "@tastemaker/tensor";

import type { Scope } from "../models/scope.ts";
import { type UNetOptions, unet } from "../models/unet.ts";
import type { UNetConfig } from "../models/unet-config.ts";

/** A noise-predicting network: where its weights are (with or without an adapter) and how it is built. */
export interface Denoiser {
  readonly scope: Scope;
  readonly config: UNetConfig;
  readonly options?: UNetOptions;
}

/** What a text-to-image network is conditioned on. */
export interface Conditioning {
  /** Text encoder's last hidden state, `[B, L, E]`. */
  readonly context: Tensor;
  /** Guidance embedding `[B, K]` (`guidanceEmbedding`); exactly when the network takes one. */
  readonly cond?: Tensor | undefined;
}

/**
 * The network's output o(x, t, c, w), `[B, C, H, W]`.
 *
 * @param sinusoid Embedding of the timestep that all rows share, `[1, W]` (`timestepEmbedding`, evaluated on the host in float64).
 */
export function predict({ scope, config, options }: Denoiser, x: Tensor, sinusoid: Tensor, { context, cond }: Conditioning): Tensor {
  const rows = expand(sinusoid, [x.shape[0]!, sinusoid.shape[1]!]);
  return unet(scope, config, { sample: x, sinusoid: rows, context, ...(cond === undefined ? {} : { cond }) }, options);
}
