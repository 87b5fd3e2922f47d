import { join } from "node:path";
import { type AutoencoderConfig, autoencoderReduction, encodeImage, encodeSafetensors, readSafetensorsHeader, readTensorFloat32 } from "@tastemaker/diffusion";
import { type Backend, input, mul, program, sub } from "@tastemaker/tensor";
import { Progress } from "../cli/progress.ts";
import type { CaptionedImages } from "../data/captioned-images.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { openNodeFile } from "../platform/node-files.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import type { Scope } from "@tastemaker/diffusion";

/** Pictures encoded once: the latents' means times the scaling factor, with their captions. */
export interface LatentCache {
  readonly count: number;
  readonly captions: readonly string[];
  /** [channels, side, side] */
  readonly shape: readonly [number, number, number];
  /** `count` latents one after the other. */
  readonly data: Float32Array;
}

const encodeBatch = 32;

/**
 * Encodes the first `count` pictures of a source, or reads them back from `folder` when they are there (under a name that tells what
 * they were made from). Float16 on disk: latents are of order one, and training adds far more noise than the rounding.
 */
export async function cacheLatents(
  images: CaptionedImages<unknown>,
  wanted: number,
  vae: { readonly scope: Scope; readonly config: AutoencoderConfig; readonly hash: string },
  folder: string,
  backend: Backend,
): Promise<LatentCache> {
  const count = Math.min(wanted, images.size);
  const side = images.imageSize / autoencoderReduction(vae.config);
  const shape = [vae.config.latentChannels, side, side] as const;
  const each = shape[0] * side * side;
  const path = join(folder, `latents-${vae.hash.slice(0, 12)}-${count}.safetensors`);
  const name = JSON.stringify({ source: images.name, count, vae: vae.hash });
  try {
    const file = await openNodeFile(path);
    const { tensors, metadata } = await readSafetensorsHeader(file);
    const entry = tensors.get("latents");
    if (metadata.get("made-from") === name && entry) {
      const captions = JSON.parse(metadata.get("captions") ?? "[]") as string[];
      return { count, captions, shape, data: await readTensorFloat32(file, entry) };
    }
  } catch {
    // Absent or unreadable: made anew below.
  }
  const image = input("image", [encodeBatch, 3, images.imageSize, images.imageSize]);
  const { mean } = encodeImage(vae.scope, vae.config, sub(mul(image, 2), 1));
  const executable = await backend.compile(program({ latent: mul(mean, vae.config.scalingFactor) }));
  const data = new Float32Array(count * each);
  const captions: string[] = [];
  const progress = new Progress({ label: "encoding pictures", total: count });
  for (let start = 0; start < count; start += encodeBatch) {
    const indices = Array.from({ length: encodeBatch }, (_, i) => Math.min(count - 1, start + i));
    const batch = await images.batch(indices);
    const { latent } = await executable.run({ image: batch.pixels });
    const real = Math.min(encodeBatch, count - start);
    data.set((latent!.data as Float32Array).subarray(0, real * each), start * each);
    captions.push(...batch.captions.slice(0, real));
    progress.update(start + real);
    await letSignalsIn();
  }
  progress.finish();
  await executable.dispose();
  const metadata = new Map([["made-from", name], ["captions", JSON.stringify(captions)]]);
  await writeFileAtomic(path, encodeSafetensors(new Map([["latents", { dtype: "F16", shape: [count, ...shape], data }]]), metadata));
  return { count, captions, shape, data };
}
