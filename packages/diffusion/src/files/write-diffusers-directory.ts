import { encodeSafetensors, type TensorToStore } from "./safetensors-writer.ts";

type JsonObject = Readonly<Record<string, unknown>>;

/** A component to write: its `config.json` (with `_class_name` for diffusers' classes) and its tensors. */
export interface ComponentToWrite {
  readonly config: JsonObject;
  readonly tensors: ReadonlyMap<string, TensorToStore>;
}

/** A whole model to write. */
export interface ModelToWrite {
  /** Pipeline class, e.g. `LatentConsistencyModelPipeline` or `StableDiffusionPipeline`. */
  readonly pipeline: string;
  readonly unet: ComponentToWrite;
  readonly vae: ComponentToWrite;
  readonly textEncoder: ComponentToWrite;
  /** `scheduler_config.json`, with its `_class_name`. */
  readonly scheduler: JsonObject;
  /** Tokenizer files by name (`tokenizer.json`, `vocab.json`, …), copied as they are. */
  readonly tokenizerFiles: ReadonlyMap<string, Uint8Array>;
}

/** JSON as diffusers writes it: sorted keys, two spaces, a final newline. */
function encodeJson(value: JsonObject): Uint8Array {
  const sorted = Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  return new TextEncoder().encode(`${JSON.stringify(sorted, undefined, 2)}\n`);
}

/**
 * The files of a diffusers model directory, by relative path, so that diffusers' `from_pretrained` and `openDiffusersDirectory` read it.
 * Deterministic; putting the bytes on disk is the caller's business.
 */
export function encodeDiffusersDirectory(model: ModelToWrite): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const nothing = [null, null];
  files.set(
    "model_index.json",
    encodeJson({
      _class_name: model.pipeline,
      feature_extractor: nothing,
      image_encoder: nothing,
      requires_safety_checker: false,
      safety_checker: nothing,
      scheduler: ["diffusers", model.scheduler["_class_name"] ?? "DDIMScheduler"],
      text_encoder: ["transformers", "CLIPTextModel"],
      tokenizer: ["transformers", "CLIPTokenizer"],
      unet: ["diffusers", "UNet2DConditionModel"],
      vae: ["diffusers", "AutoencoderKL"],
    }),
  );
  files.set("scheduler/scheduler_config.json", encodeJson(model.scheduler));
  const metadata = new Map([["format", "pt"]]);
  for (const [folder, stem, { config, tensors }] of [
    ["unet", "diffusion_pytorch_model", model.unet],
    ["vae", "diffusion_pytorch_model", model.vae],
    ["text_encoder", "model", model.textEncoder],
  ] as const) {
    files.set(`${folder}/config.json`, encodeJson(config));
    files.set(`${folder}/${stem}.safetensors`, encodeSafetensors(tensors, metadata));
  }
  for (const [name, bytes] of model.tokenizerFiles) files.set(`tokenizer/${name}`, bytes);
  return files;
}
