import { existsSync, statSync } from "node:fs";
import {
  type AutoencoderConfig,
  autoencoderParameters,
  autoencoderReduction,
  type Checkpoint,
  type ClipTextConfig,
  clipTextParameters,
  type DiffusersModel,
  type Folder,
  openDiffusersDirectory,
  openSingleFileModel,
  type Parameter,
  parseAutoencoderConfig,
  parseClipTextConfig,
  parseUNetConfig,
  type UNetConfig,
  unetParameters,
} from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import { type LocateOptions, locateWeights } from "../hub/locate-weights.ts";
import { neededForConfigs, neededForPipeline } from "../hub/needed-files.ts";
import { openNodeFile, openNodeFolder } from "../platform/node-files.ts";
import { worldName, worldPart, worldTeacherName } from "./emoji-world.ts";

/** A text-to-image model whose files were checked against its configurations; weights stay on disk. */
export interface OpenedModel {
  /** As the person named it. */
  readonly name: string;
  /** Absolute path of the folder or file. */
  readonly path: string;
  readonly parts: DiffusersModel;
  readonly unet: UNetConfig;
  readonly vae: AutoencoderConfig;
  readonly text: ClipTextConfig;
  /** `[C, H, W]` of a latent. */
  readonly latentShape: readonly [number, number, number];
  /** Side of a picture in pixels. */
  readonly imageSize: number;
}

export interface OpenModelOptions {
  /** Folder in the diffusers layout whose configurations and tokenizer belong to a single-file checkpoint. */
  readonly configs?: string;
  /** Side of the pictures in pixels; default: what the model was trained for (`sample_size` of its U-Net). */
  readonly imageSize?: number | undefined;
  /** How a model is fetched that is not on this disk. */
  readonly fetching?: LocateOptions;
}

/** Takes every parameter, so that a missing, misshapen or left-over weight is an error before anything runs. */
function checkWeights(weights: Checkpoint, parameters: readonly Parameter[], ignore: readonly RegExp[] = []): void {
  for (const { key, shape } of parameters) weights.take(key, shape);
  weights.assertAllUsed(ignore);
}

async function openParts(path: string, options: OpenModelOptions): Promise<DiffusersModel> {
  if (statSync(path).isDirectory()) return openDiffusersDirectory(await openNodeFolder(path));
  if (options.configs === undefined) {
    throw new UsageError("model-configs-missing", `model: expected a folder in the diffusers layout, got the single file ${path}`, "say with --configs which diffusers folder its configurations and tokenizer come from");
  }
  const configs = await locateWeights(options.configs, neededForConfigs, { ...options.fetching, what: "model configurations", missingCode: "model-missing" });
  return openSingleFileModel(await openNodeFile(path), await openNodeFolder(configs));
}

/** The embedded world's diffusion model as one folder: its U-Net and scheduler are its own, everything else it shares with the consistency model. */
async function teacherFolder(): Promise<Folder> {
  const [own, shared] = [await openNodeFolder(worldPart("teacher")), await openNodeFolder(worldPart("lcm"))];
  const of = (relative: string): Folder => (/^(?:unet|scheduler)\//.test(relative) ? own : shared);
  return {
    path: own.path,
    has: (relative) => of(relative).has(relative),
    open: (relative) => of(relative).open(relative),
    readText: (relative) => of(relative).readText(relative),
    readJson: async (relative) => {
      const value = await of(relative).readJson(relative);
      return relative === "model_index.json" ? { ...(value as object), _class_name: "StableDiffusionPipeline", scheduler: ["diffusers", "DDIMScheduler"] } : value;
    },
  };
}

/**
 * Opens a model by name: `emoji` (the embedded world), `emoji-teacher` (the diffusion model it was distilled from), a folder in the diffusers layout, a single weight file with `configs`, or a repository of the hub or an address that
 * holds one of these, which is fetched where it is not in the cache.
 * @throws UsageError `model-missing`, `model-configs-missing`, `model-parts`, as `locate`, and whatever its files give reason to
 */
export async function openModel(name: string, options: OpenModelOptions = {}): Promise<OpenedModel> {
  const path = name === worldName ? worldPart("lcm") : name === worldTeacherName ? worldPart("teacher") : await locateWeights(name, neededForPipeline, { ...options.fetching, what: "model", missingCode: "model-missing", cure: "check the path, or say emoji for the embedded model" });
  if (!existsSync(path)) throw new UsageError("model-missing", `model: expected a folder, got nothing (at ${path})`, "the embedded world's weights are not built; run `npm run world`");
  const parts = name === worldTeacherName ? await openDiffusersDirectory(await teacherFolder()) : await openParts(path, options);
  const unet = parseUNetConfig(parts.unet.config);
  const vae = parseAutoencoderConfig(parts.vae.config);
  const text = parseClipTextConfig(parts.textEncoder.config);
  if (unet.crossAttentionDim !== text.width) {
    throw new UsageError("model-parts", `model: expected a text encoder of width ${unet.crossAttentionDim} (cross_attention_dim of the U-Net), got ${text.width} (at ${path})`, "the parts belong to different models");
  }
  if (unet.inChannels !== vae.latentChannels || unet.outChannels !== vae.latentChannels) {
    throw new UsageError("model-parts", `model: expected an autoencoder with ${unet.inChannels} latent channels (in_channels of the U-Net), got ${vae.latentChannels} (at ${path})`, "the parts belong to different models");
  }
  checkWeights(parts.unet.weights, unetParameters(unet));
  // The encoder is not needed to make pictures, so a decoder alone is enough.
  const stored = parts.vae.weights;
  const isNeeded = ({ key }: Parameter): boolean => stored.has(key) || !/^(?:encoder|quant_conv)\./.test(key);
  checkWeights(stored, autoencoderParameters(vae).filter(isNeeded));
  checkWeights(parts.textEncoder.weights, clipTextParameters(text), [/^text_projection\.weight$/]);
  const [side, width] = typeof unet.sampleSize === "object" ? unet.sampleSize : [unet.sampleSize ?? 64, undefined];
  if (width !== undefined && width !== side) {
    throw new UsageError("model-size", `model: expected square pictures, got latents of ${side}×${width} (sample_size of the U-Net, at ${path})`, "set sample_size in unet/config.json to one number");
  }
  const reduction = autoencoderReduction(vae);
  const { imageSize = side * reduction } = options;
  if (imageSize % reduction !== 0) {
    throw new UsageError("image-size", `picture size: expected a multiple of ${reduction} pixels, got ${imageSize}`, `the nearest are ${imageSize - (imageSize % reduction)} and ${imageSize - (imageSize % reduction) + reduction}`);
  }
  const latentSide = imageSize / reduction;
  return { name, path, parts, unet, vae, text, latentShape: [vae.latentChannels, latentSide, latentSide], imageSize };
}

/** Whether a picture takes seconds and gigabytes rather than milliseconds and megabytes: beyond 256×256 pixels at the usual reduction of 8. Decides about defaults. */
export function isFullSize({ latentShape }: Pick<OpenedModel, "latentShape">): boolean {
  return latentShape[1] > 32;
}

/** How a model is sampled: multistep consistency sampling, or DDIM with classifier-free guidance. */
export type SamplerKind = "consistency" | "ddim";

/**
 * The sampler that a model needs: its scheduler says whether it is a consistency model; a diffusion model must be without guidance embedding.
 * @throws UsageError `model-kind` for one that is neither
 */
export function samplerKind({ parts, unet, path }: OpenedModel): SamplerKind {
  if (parts.scheduler.className === "LCMScheduler") return "consistency";
  if (unet.timeCondProjDim === undefined) return "ddim";
  throw new UsageError("model-kind", `model: expected a latent consistency model (scheduler LCMScheduler) or a diffusion model without guidance embedding, got ${parts.pipeline} with ${parts.scheduler.className} and time_cond_proj_dim ${unet.timeCondProjDim} (at ${path})`, "use emoji, emoji-teacher or models such as SimianLuo/LCM_Dreamshaper_v7 and Lykon/dreamshaper-7");
}

/**
 * The same model, known to be a few-step consistency model.
 * @throws UsageError `model-kind` for a diffusion model
 */
export function requireConsistencyModel(model: OpenedModel, cure: string): OpenedModel {
  if (model.parts.scheduler.className === "LCMScheduler") return model;
  throw new UsageError(
    "model-kind",
    `model: expected a latent consistency model (scheduler LCMScheduler), got ${model.parts.pipeline} with ${model.parts.scheduler.className} (at ${model.path})`,
    cure,
  );
}

/**
 * The same model, known to be a diffusion model that DDIM can sample with classifier-free guidance.
 * @throws UsageError `model-kind` for a consistency model
 */
export function requireDiffusionModel(model: OpenedModel, objective: string): OpenedModel {
  const { parts, unet } = model;
  if (parts.scheduler.className !== "LCMScheduler" && unet.timeCondProjDim === undefined) return model;
  const got = parts.scheduler.className === "LCMScheduler" ? `${parts.pipeline} with LCMScheduler` : `a U-Net with a guidance embedding (time_cond_proj_dim ${unet.timeCondProjDim})`;
  throw new UsageError("model-kind", `model: expected a diffusion model (StableDiffusionPipeline) for the objective "${objective}", got ${got} (at ${model.path})`, `use emoji-teacher or a model such as Lykon/dreamshaper-7, or train this one with the objective rocm, rlcm or rebel`);
}
