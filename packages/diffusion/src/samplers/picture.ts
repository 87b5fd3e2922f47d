import { type Tensor, add, clamp, mul } from "@tastemaker/tensor";

import { type AutoencoderConfig, type DecodeOptions, decodeLatent } from "../models/autoencoder.ts";
import type { Scope } from "../models/scope.ts";

/**
 * Latent of the diffusion model to picture: image = clamp(decode(z/scalingFactor)/2 + ½, 0, 1), with the true derivative of clamp (0 outside).
 *
 * @param latent `[B, C, h, w]`
 * @returns `decoded` `[B, 3, H, W]`, nominally in [−1, 1]; `image` in [0, 1].
 */
export function latentToImage(scope: Scope, config: AutoencoderConfig, latent: Tensor, options: DecodeOptions = {}): { readonly decoded: Tensor; readonly image: Tensor } {
  const decoded = decodeLatent(scope, config, mul(latent, 1 / config.scalingFactor), options);
  return { decoded, image: clamp(add(mul(decoded, 0.5), 0.5), 0, 1) };
}
