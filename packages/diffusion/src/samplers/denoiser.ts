import { type Tensor, add, concat, expand, mul, sliceAxis, sub } from "@tastemaker/tensor";

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

/** Classifier-free guidance: what a diffusion model is conditioned on, and how strongly. */
export interface DdimGuidance {
  /** w: the guided output is u + w (c − u). */
  readonly scale: number;
  /** Text encoder's last hidden state of the prompts, `[B, L, E]`. */
  readonly context: Tensor;
  /** The same of the empty prompt, `[B, L, E]`. */
  readonly uncondContext: Tensor;
}

/**
 * The guided output o = u + w (c − u), `[B, C, H, W]` (Ho & Salimans 2022), both from one batch of 2B rows: first the B of the empty prompt, then those of the prompts.
 *
 * @param sinusoid As in `predict`.
 */
export function predictGuided(denoiser: Denoiser, x: Tensor, sinusoid: Tensor, { scale, context, uncondContext }: DdimGuidance): Tensor {
  const batch = x.shape[0]!;
  const pair = predict(denoiser, concat([x, x], 0), sinusoid, { context: concat([uncondContext, context], 0) });
  const u = sliceAxis(pair, 0, 0, batch);
  return add(u, mul(sub(sliceAxis(pair, 0, batch, 2 * batch), u), scale));
}
