import { UsageError } from "@tastemaker/tensor";
import { parseSchedulerConfig, type SchedulerConfig } from "../schedulers/noise-schedule.ts";
import { openClipTokenizer, type ClipTokenizer } from "../tokenizers/clip-tokenizer.ts";
import { findWeightFiles, openWeightFiles } from "./component-files.ts";
import { asJsonObject, type Folder, type RandomAccessFile } from "./random-access-file.ts";
import { isSingleFileCheckpoint, splitSingleFile } from "./single-file.ts";
import { loadCheckpoint, renameOldVaeAttention, renameTextEncoder, type Checkpoint } from "./weights.ts";

type JsonObject = Readonly<Record<string, unknown>>;

/** A model component: its `config.json` and its tensors under current diffusers keys. */
export interface ModelComponent {
  readonly config: JsonObject;
  readonly weights: Checkpoint;
}

/** An opened text-to-image model of the SD 1.x family; only headers and small files have been read. */
export interface DiffusersModel {
  /** `_class_name` of the pipeline, e.g. `LatentConsistencyModelPipeline`. */
  readonly pipeline: string;
  readonly unet: ModelComponent;
  readonly vae: ModelComponent;
  /** Keys without the prefix `text_model.`, without `position_ids`. */
  readonly textEncoder: ModelComponent;
  readonly scheduler: SchedulerConfig;
  readonly schedulerConfig: JsonObject;
  readonly tokenizer: ClipTokenizer;
}

export interface OpenOptions {
  /** Which stored variant to prefer, e.g. "fp16" for `*.fp16.safetensors`; default: the unnamed one, else fp16. */
  readonly variant?: string;
}

const expectedClasses = {
  unet: ["UNet2DConditionModel"],
  vae: ["AutoencoderKL"],
  text_encoder: ["CLIPTextModel"],
  tokenizer: ["CLIPTokenizer", "CLIPTokenizerFast"],
} as const;
/** Folder of each part with weights, and how the files begin. */
const weightStems = [
  ["unet/", "diffusion_pytorch_model"],
  ["vae/", "diffusion_pytorch_model"],
  ["text_encoder/", "model"],
] as const;
/** Pipeline parts that do not change the pictures of a text-to-image run. */
const ignoredParts: readonly string[] = ["scheduler", "feature_extractor", "safety_checker", "image_encoder"];

/**
 * Opens a diffusers model directory. Throws `UsageError` when a part is missing, of another class, or stored in an unknown format; a
 * pipeline with parts that this program does not compute (a second text encoder, a ControlNet) is refused rather than half used.
 */
export async function openDiffusersDirectory(folder: Folder, options: OpenOptions = {}): Promise<DiffusersModel> {
  const configs = await readConfigs(folder);
  const open = async ([prefix, stem]: (typeof weightStems)[number]): Promise<Checkpoint> => loadCheckpoint(await openWeightFiles(folder, prefix, stem, options.variant));
  const [unet, vae, text] = weightStems;
  return {
    ...configs.rest,
    unet: { config: configs.unet, weights: await open(unet) },
    vae: { config: configs.vae, weights: (await open(vae)).renamed(renameOldVaeAttention) },
    textEncoder: { config: configs.textEncoder, weights: (await open(text)).renamed(renameTextEncoder) },
  };
}

/**
 * Names of the weight files that `openDiffusersDirectory` would read. Everything small is read and checked on the way, so that nothing large is fetched of a model that
 * would then be refused. Throws `UsageError` as that does.
 */
export async function diffusersWeightFiles(folder: Folder, options: OpenOptions = {}): Promise<string[]> {
  await readConfigs(folder);
  const names: string[] = [];
  for (const [prefix, stem] of weightStems) names.push(...(await findWeightFiles(folder, prefix, stem, options.variant)));
  return names;
}

/** Reads what `openSingleFileModel` needs of its `configs`; throws `UsageError` as that does. */
export async function checkDiffusersConfigs(folder: Folder): Promise<void> {
  await readConfigs(folder);
}

/**
 * Opens a single-file SD 1.x checkpoint; configurations, scheduler and tokenizer come from a diffusers directory of the same architecture
 * (its weights are not needed). Throws `UsageError`.
 */
export async function openSingleFileModel(file: RandomAccessFile, configs: Folder): Promise<DiffusersModel> {
  // A `.ckpt` keeps its tensors one level down.
  const checkpoint = (await loadCheckpoint([file])).renamed((key) => key.replace(/^state_dict\./, ""));
  if (!isSingleFileCheckpoint(checkpoint)) {
    throw new UsageError("single-file-kind", `checkpoint: expected keys under model.diffusion_model., got ${checkpoint.keys().slice(0, 3).join(", ")} (at ${file.name})`, "open the model directory instead of one of its files");
  }
  const { unet, vae, textEncoder } = splitSingleFile(checkpoint);
  const read = await readConfigs(configs);
  return {
    ...read.rest,
    unet: { config: read.unet, weights: unet },
    vae: { config: read.vae, weights: vae },
    textEncoder: { config: read.textEncoder, weights: textEncoder },
  };
}

async function readConfigs(folder: Folder): Promise<{ unet: JsonObject; vae: JsonObject; textEncoder: JsonObject; rest: Pick<DiffusersModel, "pipeline" | "scheduler" | "schedulerConfig" | "tokenizer"> }> {
  const readObject = async (relative: string): Promise<JsonObject> => asJsonObject(await folder.readJson(relative), `${folder.path}/${relative}`);
  const where = `${folder.path}/model_index.json`;
  if (!(await folder.has("model_index.json"))) {
    throw new UsageError("model-directory", `model: expected a diffusers directory with model_index.json, got none (at ${folder.path})`, "point at the directory that contains unet/, vae/ and text_encoder/");
  }
  const index = await readObject("model_index.json");
  checkParts(index, where);
  const schedulerConfig = await readObject("scheduler/scheduler_config.json");
  return {
    unet: await readObject("unet/config.json"),
    vae: await readObject("vae/config.json"),
    textEncoder: await readObject("text_encoder/config.json"),
    rest: {
      pipeline: typeof index["_class_name"] === "string" ? index["_class_name"] : "StableDiffusionPipeline",
      scheduler: parseSchedulerConfig(schedulerConfig, `${folder.path}/scheduler/scheduler_config.json`),
      schedulerConfig,
      tokenizer: await openClipTokenizer(folder, "tokenizer/"),
    },
  };
}

function checkParts(index: JsonObject, where: string): void {
  for (const [part, known] of Object.entries(expectedClasses)) {
    const value = index[part];
    const className: unknown = Array.isArray(value) ? value[1] : undefined;
    if (typeof className !== "string" || !(known as readonly string[]).includes(className)) {
      throw new UsageError("model-part", `model ${part}: expected ${known.join(" or ")}, got ${JSON.stringify(value)?.slice(0, 80) ?? "nothing"} (at ${where})`, "only the Stable Diffusion 1.x family is supported");
    }
  }
  for (const [part, value] of Object.entries(index)) {
    if (Object.hasOwn(expectedClasses, part) || ignoredParts.includes(part) || !Array.isArray(value) || value[1] === null) continue;
    throw new UsageError("model-part", `model: expected only the parts of Stable Diffusion 1.x, got ${part} ${JSON.stringify(value).slice(0, 80)} (at ${where})`, "only the Stable Diffusion 1.x family is supported");
  }
}
