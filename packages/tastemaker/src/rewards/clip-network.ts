import { basename } from "node:path";
import {
  asJsonObject,
  type ClipConfig,
  clipTextEmbedding,
  type CropRule,
  type Folder,
  isOpenClip,
  loadCheckpoint,
  openClip,
  type OpenClipChoices,
  openWeightFiles,
  parseClipConfig,
  type PixelStatistics,
  type Preprocessing,
  type Scope,
  scopeOf,
  shorterSideCrop,
  type Tokenizer,
} from "@tastemaker/diffusion";
import { UsageError, weight } from "@tastemaker/tensor";
import { statSync } from "node:fs";
import { openNodeFolder } from "../platform/node-files.ts";
import { openRewardFile } from "./reward-files.ts";
import type { TextTower } from "./text-embeddings.ts";

/** A CLIP on disk: a transformers folder, or a file with OpenAI's names. */
export interface ClipNetwork {
  /** Folder or file. */
  readonly path: string;
  /** Absolute paths of the weight files. */
  readonly files: readonly string[];
  readonly config: ClipConfig;
  /** Where vocabularies and `preprocessor_config.json` lie. */
  readonly folder: Folder;
  /** Frozen weights under transformers' names, each asked for once. */
  scope(): Scope;
}

/**
 * Opens a CLIP: a folder with a transformers `config.json` and `model.safetensors` (or shards, or `pytorch_model.bin`), or a single file with OpenAI's names
 * (OpenAI's `.pt` releases, open_clip, HPSv2).
 *
 * @param activation Of a single file, unless the `config.json` beside it says otherwise.
 * @throws UsageError `clip-kind`, `weights-missing` and whatever the files give reason to
 */
export async function openClipNetwork(path: string, activation: OpenClipChoices["activation"] = "quick_gelu"): Promise<ClipNetwork> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) {
    const folder = await openNodeFolder(path);
    const json = (await folder.has("config.json")) ? asJsonObject(await folder.readJson("config.json"), `${folder.path}/config.json`) : {};
    if ("text_config" in json || "text_config_dict" in json || "vision_config" in json) {
      const config = parseClipConfig(json);
      const files = await openWeightFiles(folder, "", "model");
      const weights = (await loadCheckpoint(files)).renamed((key) => (key.endsWith(".position_ids") ? undefined : key));
      return { path: folder.path, files: files.map(({ name }) => name), config, folder, scope: () => scopeOf((key, shape) => weight(weights.take(key, shape))) };
    }
  }
  const file = await openRewardFile(path);
  const { weights, architecture } = file;
  if (!isOpenClip(weights)) {
    throw new UsageError("clip-kind", `CLIP: expected a transformers folder or a file with OpenAI's names (visual.conv1.weight), got ${weights.keys().slice(0, 3).join(", ")} (at ${file.path})`, "give the folder with config.json and the weights");
  }
  const { heads: visionHeads } = architecture.vision;
  const { heads: textHeads } = architecture.text;
  const { layer_norm_eps: eps } = architecture;
  const { config, scope } = openClip(weights, {
    activation: architecture.activation ?? activation,
    ...(visionHeads === undefined ? {} : { visionHeads }),
    ...(textHeads === undefined ? {} : { textHeads }),
    ...(eps === undefined ? {} : { eps }),
  });
  return { path: file.path, files: [file.path], config, folder: file.folder, scope };
}

/** The text tower of a CLIP, with a tokenizer. */
export function clipTextTower(clip: ClipNetwork, tokenizer: Tokenizer): TextTower {
  const { config } = clip;
  return {
    tokenizer,
    length: Math.min(config.text.positions, tokenizer.maxLength),
    vocabulary: config.text.vocabulary,
    where: `tokenizer of ${basename(clip.path)}`,
    width: config.projection,
    embed: (ids) => clipTextEmbedding(clip.scope(), config, ids),
  };
}

/**
 * The preprocessing of a transformers folder: shorter side, centre crop, the statistics of its `preprocessor_config.json` (CLIP's where there is none).
 * @throws UsageError `preprocessor-config` for another rule
 */
export async function clipPreprocessing({ folder, config }: ClipNetwork, crop: CropRule): Promise<Preprocessing> {
  const size = config.vision.imageSize;
  if (!(await folder.has("preprocessor_config.json"))) return shorterSideCrop(size, crop);
  const where = `${folder.path}/preprocessor_config.json`;
  const json = asJsonObject(await folder.readJson("preprocessor_config.json"), where);
  const refuse = (key: string, expected: string): never => {
    throw new UsageError("preprocessor-config", `preprocessor: expected ${expected}, got ${JSON.stringify(json[key])} (${key} at ${where})`, "the files belong to different models, or the model is no CLIP");
  };
  const number = (key: string, inner: string): unknown => {
    const value = json[key];
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>)[inner] : value;
  };
  const wanted: readonly (readonly [string, unknown, unknown])[] = [
    ["size", number("size", "shortest_edge"), size],
    ["crop_size", number("crop_size", "height"), size],
    ["resample", json["resample"], 3],
    ["do_resize", json["do_resize"], true],
    ["do_center_crop", json["do_center_crop"], true],
    ["do_normalize", json["do_normalize"], true],
  ];
  for (const [key, found, expected] of wanted) if (found !== undefined && found !== expected) refuse(key, String(expected));
  const triple = (key: string): readonly number[] | undefined => {
    const value = json[key];
    if (value === undefined) return undefined;
    return Array.isArray(value) && value.length === 3 && value.every((item) => typeof item === "number" && Number.isFinite(item)) ? (value as number[]) : refuse(key, "three numbers");
  };
  const [mean, std] = [triple("image_mean"), triple("image_std")];
  return shorterSideCrop(size, crop, mean === undefined || std === undefined ? undefined : ({ mean, std } satisfies PixelStatistics));
}
