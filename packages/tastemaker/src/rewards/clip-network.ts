import { basename } from "node:path";
import {
  asJsonObject,
  type ClipConfig,
  clipImageEmbedding,
  clipStatistics,
  clipTextEmbedding,
  type CropRule,
  type Folder,
  isOpenClip,
  loadCheckpoint,
  openClip,
  type OpenClipChoices,
  openWeightFiles,
  parseClipConfig,
  type Preprocessing,
  type Scope,
  scopeOf,
  shorterSideCrop,
  type Tokenizer,
} from "@tastemaker/diffusion";
import { input, UsageError, weight } from "@tastemaker/tensor";
import { statSync } from "node:fs";
import { openNodeFolder } from "../platform/node-files.ts";
import { openRewardFile, towerChoices } from "./reward-files.ts";
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
 * The same CLIP, both towers traced once: a configuration that does not belong to the weights is refused before anything of its sizes is made.
 * @throws UsageError `weight-missing`, `weight-shape`, …
 */
function checked(clip: ClipNetwork): ClipNetwork {
  const { vision, text } = clip.config;
  const places = 1 + Math.floor(vision.imageSize / vision.patchSize) ** 2;
  clip.scope().get("vision_model.embeddings.position_embedding.weight", [places, vision.width]);
  clipImageEmbedding(clip.scope(), clip.config, input("pixel_values", [1, 3, vision.imageSize, vision.imageSize]));
  clipTextEmbedding(clip.scope(), clip.config, input("input_ids", [1, text.positions], "int32"));
  return clip;
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
      return checked({ path: folder.path, files: files.map(({ name }) => name), config, folder, scope: () => scopeOf((key, shape) => weight(weights.take(key, shape))) });
    }
  }
  const file = await openRewardFile(path);
  const { weights, architecture } = file;
  if (!isOpenClip(weights)) {
    throw new UsageError("clip-kind", `CLIP: expected a transformers folder or a file with OpenAI's names (visual.conv1.weight), got ${weights.keys().slice(0, 3).join(", ")} (at ${file.path})`, "give the folder with config.json and the weights");
  }
  const { config, scope } = openClip(weights, { activation: architecture.activation ?? activation, ...towerChoices(architecture) });
  return checked({ path: file.path, files: [file.path], config, folder: file.folder, scope });
}

/** The text tower of a CLIP, with a tokenizer. */
export function clipTextTower(clip: ClipNetwork, tokenizer: Tokenizer): TextTower {
  const { config } = clip;
  return {
    tokenizer,
    // Not the length that the tokenizer states: the references cut at what the model has room for.
    length: config.text.positions,
    vocabulary: config.text.vocabulary,
    where: `tokenizer of ${basename(clip.path)}`,
    width: config.projection,
    embed: (ids) => clipTextEmbedding(clip.scope(), config, ids),
  };
}

/** What a folder says about its pictures, and where; transformers from version 5 on keep it in the processor's file, and read it there first. */
async function readPreprocessor(folder: Folder): Promise<{ readonly json: Readonly<Record<string, unknown>>; readonly where: string }> {
  const read = async (name: string): Promise<Readonly<Record<string, unknown>>> => ((await folder.has(name)) ? asJsonObject(await folder.readJson(name), `${folder.path}/${name}`) : {});
  const nested = (await read("processor_config.json"))["image_processor"] ?? undefined;
  if (nested === undefined) return { json: await read("preprocessor_config.json"), where: `${folder.path}/preprocessor_config.json` };
  const where = `image_processor in ${folder.path}/processor_config.json`;
  return { json: asJsonObject(nested, where), where };
}

/**
 * The preprocessing of a transformers folder: shorter side, centre crop, the statistics of its `preprocessor_config.json` (CLIP's where there is none).
 * @throws UsageError `preprocessor-config` for another rule
 */
export async function clipPreprocessing({ folder, config }: ClipNetwork, crop: CropRule): Promise<Preprocessing> {
  const size = config.vision.imageSize;
  const { json: all, where } = await readPreprocessor(folder);
  const json = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
  const refuse = (key: string, expected: string): never => {
    throw new UsageError("preprocessor-config", `preprocessor: expected ${expected}, got ${JSON.stringify(json[key])} (${key} at ${where})`, "the files belong to different models, or the model is no CLIP");
  };
  // A number, or an object of numbers: the shorter side, or height and width.
  const sides = (key: string, ...names: readonly string[]): readonly unknown[] => {
    const value = json[key];
    return typeof value === "object" && value !== null ? names.map((name) => (value as Readonly<Record<string, unknown>>)[name] ?? "nothing") : [value];
  };
  const wanted: readonly (readonly [key: string, found: readonly unknown[], expected: unknown])[] = [
    ["size", sides("size", "shortest_edge"), size],
    ["crop_size", sides("crop_size", "height", "width"), size],
    ["resample", [json["resample"]], 3],
    ...["do_resize", "do_center_crop", "do_rescale", "do_normalize"].map((key) => [key, [json[key]], true] as const),
  ];
  for (const [key, found, expected] of wanted) if (found.some((value) => value !== undefined && value !== expected)) refuse(key, String(expected));
  const scale = json["rescale_factor"];
  if (scale !== undefined && !(typeof scale === "number" && Math.abs(scale * 255 - 1) < 1e-6)) refuse("rescale_factor", "1/255");
  const triple = (key: "image_mean" | "image_std", usual: readonly number[]): readonly number[] => {
    const value = json[key];
    if (value === undefined) return usual;
    const isFine = Array.isArray(value) && value.length === 3 && value.every((item) => typeof item === "number" && Number.isFinite(item) && (key === "image_mean" || item > 0));
    return isFine ? (value as number[]) : refuse(key, key === "image_mean" ? "three numbers" : "three numbers above 0");
  };
  return shorterSideCrop(size, crop, { mean: triple("image_mean", clipStatistics.mean), std: triple("image_std", clipStatistics.std) });
}
