import { type AutoencoderConfig, latentToImage, type SchedulerConfig, type Scope, scopeOf, type UNetConfig } from "@tastemaker/diffusion";
import { type Backend, type Executable, input, program, weight } from "@tastemaker/tensor";
import type { ParameterSet } from "../train/adamw.ts";
import type { OpenedModel } from "./open-model.ts";

/** What a sampler needs of a model: frozen in its files, or in the middle of its training. */
export interface SamplerParts {
  readonly unet: { readonly scope: Scope; readonly config: UNetConfig };
  readonly vae: { readonly scope: Scope; readonly config: AutoencoderConfig };
  readonly scheduler: SchedulerConfig;
  /** `[C, H, W]` of a latent. */
  readonly latentShape: readonly number[];
  /** Side of a picture in pixels. */
  readonly imageSize: number;
  /** Values of the U-Net's parameters where its scope makes inputs of them. */
  readonly weights?: ParameterSet;
}

/** The parts of a model on disk. */
export function samplerParts({ parts, unet, vae, latentShape, imageSize }: OpenedModel): SamplerParts {
  return {
    unet: { scope: scopeOf((key, shape) => weight(parts.unet.weights.take(key, shape))), config: unet },
    vae: { scope: scopeOf((key, shape) => weight(parts.vae.weights.take(key, shape))), config: vae },
    scheduler: parts.scheduler,
    latentShape,
    imageSize,
  };
}

/** Compiles the way from latents to pictures: input `latent` `[B, C, H, W]`, output `image` `[B, 3, S, S]` in [0, 1]. */
export function compileDecoder({ vae, latentShape }: SamplerParts, batchSize: number, backend: Backend): Promise<Executable> {
  const { image } = latentToImage(vae.scope, vae.config, input("latent", [batchSize, ...latentShape]));
  return backend.compile(program({ image }));
}

/** Cuts a batch into its rows. */
export function splitRows(values: Float32Array, rows: number): Float32Array[] {
  const size = values.length / rows;
  return Array.from({ length: rows }, (_, row) => values.slice(row * size, (row + 1) * size));
}

/** Rows of one length as a batch, one after the other. */
export function joinRows(rows: readonly (Float32Array | Float64Array)[]): Float32Array {
  const size = rows[0]!.length;
  const result = new Float32Array(rows.length * size);
  for (const [row, values] of rows.entries()) result.set(values, row * size);
  return result;
}
