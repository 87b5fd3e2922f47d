import { closeSync, existsSync, mkdirSync, openSync, renameSync, statSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  autoencoderParameters, clipParameters, clipTextParameters, float32ToFloat16, layoutSafetensors, type Parameter,
  parseAutoencoderConfig, parseClipConfig, parseClipTextConfig, parseUNetConfig, unetParameters,
} from "@tastemaker/diffusion";
import { normal, uniform } from "@tastemaker/tensor";
import { type ClipBpe, clipTokenizerFiles, trainClipBpe } from "../../packages/tastemaker/src/data/clip-bpe.ts";

export interface FullSizeOptions {
  readonly dtype: "fp16" | "fp32";
  /** Ending of the weight files' names, as `fp16` in `model.fp16.safetensors`; undefined for none. */
  readonly variant?: string | undefined;
  readonly seed: number;
  /** Told of every file. */
  note(text: string): void;
}

/** Tokens of a CLIP text tower. */
const TOKENS = 77;
const VOCABULARY = 49_408;

/** The configurations of LCM_Dreamshaper_v7: Stable Diffusion 1.5 with a guidance embedding, trained at 768 pixels. */
const unetConfig = {
  sample_size: 96, in_channels: 4, out_channels: 4, cross_attention_dim: 768, attention_head_dim: 8, time_cond_proj_dim: 256, layers_per_block: 2,
  block_out_channels: [320, 640, 1280, 1280], norm_num_groups: 32, norm_eps: 1e-5, act_fn: "silu", flip_sin_to_cos: true, freq_shift: 0, downsample_padding: 1,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
};
const vaeConfig = {
  in_channels: 3, out_channels: 3, latent_channels: 4, layers_per_block: 2, block_out_channels: [128, 256, 512, 512], norm_num_groups: 32, act_fn: "silu",
  sample_size: 768, scaling_factor: 0.18215,
  down_block_types: Array<string>(4).fill("DownEncoderBlock2D"),
  up_block_types: Array<string>(4).fill("UpDecoderBlock2D"),
};
const tokenIds = { vocab_size: VOCABULARY, max_position_embeddings: TOKENS, bos_token_id: 49_406, eos_token_id: 2, pad_token_id: 1 };
const textConfig = {
  architectures: ["CLIPTextModel"], model_type: "clip_text_model", hidden_size: 768, intermediate_size: 3072, num_hidden_layers: 12, num_attention_heads: 12,
  hidden_act: "quick_gelu", layer_norm_eps: 1e-5, projection_dim: 768, ...tokenIds,
};
const schedulerConfig = {
  _class_name: "LCMScheduler", beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", num_train_timesteps: 1000, original_inference_steps: 50,
  prediction_type: "epsilon", set_alpha_to_one: true, steps_offset: 0, timestep_scaling: 10, timestep_spacing: "leading", clip_sample: false, trained_betas: null,
};
/** PickScore_v1: a CLIP ViT-H/14 whose logit scale is its largest, 100. */
const pickScoreConfig = {
  architectures: ["CLIPModel"], model_type: "clip", projection_dim: 1024, logit_scale_init_value: Math.log(100),
  text_config: {
    model_type: "clip_text_model", hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, num_attention_heads: 16, hidden_act: "gelu", layer_norm_eps: 1e-5,
    projection_dim: 1024, ...tokenIds,
  },
  vision_config: {
    model_type: "clip_vision_model", hidden_size: 1280, intermediate_size: 5120, num_hidden_layers: 32, num_attention_heads: 16, hidden_act: "gelu", layer_norm_eps: 1e-5,
    image_size: 224, patch_size: 14, projection_dim: 1024,
  },
};

/** A byte-pair vocabulary of CLIP's size: letters joined to pairs and triples, in the middle and at the end of words. It reads any text, in short pieces. */
export function syntheticBpe(): ClipBpe {
  const { vocab } = trainClipBpe(new Map());
  const letters = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));
  const pairs = letters.flatMap((a) => letters.map((b): [string, string] => [a, b]));
  const extended = (heads: readonly (readonly [string, string])[], ending: string): [string, string][] => heads.flatMap(([a, b]) => letters.map((c): [string, string] => [a + b, c + ending]));
  const triples = extended(pairs, "");
  const bytes = Object.keys(vocab).length - 2;
  const merges = [...pairs, ...pairs.map(([a, b]): [string, string] => [a, `${b}</w>`]), ...triples, ...extended(pairs, "</w>"), ...extended(triples, "")].slice(0, VOCABULARY - 2 - bytes);
  const [begin, end] = Object.keys(vocab).slice(-2) as [string, string];
  const tokens = [...Object.keys(vocab).slice(0, -2), ...merges.map((pair) => pair.join("")), begin, end];
  return { vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges };
}

const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** Numbers that are drawn at a time: what this process holds of a file. */
const BLOCK = 1 << 18;

/** A parameter's starting value (as `initialise`, but drawn in blocks), numbers from `block`·BLOCK on. */
function draw({ key, initial }: Parameter, seed: number, block: number, length: number): Float32Array {
  const address = { seed, stream: `full-size/${key}`, indices: [block] };
  if (initial.kind === "constant") return new Float32Array(length).fill(initial.value);
  if (initial.kind === "normal") return Float32Array.from(normal(address, length), (x) => x * initial.std);
  return Float32Array.from(uniform(address, length), (x) => (2 * x - 1) * initial.bound);
}

/** Writes random parameters as a safetensors file, a block at a time; a complete file of the right size is kept. */
function writeRandomWeights(path: string, parameters: readonly Parameter[], { dtype, seed, note }: FullSizeOptions): void {
  const stored = dtype === "fp16" ? "F16" : "F32";
  const byKey = new Map(parameters.map((parameter) => [parameter.key, parameter]));
  const layout = layoutSafetensors(new Map(parameters.map(({ key, shape }) => [key, { dtype: stored, shape }])), new Map([["format", "pt"]]));
  if (existsSync(path) && statSync(path).size === layout.sizeBytes) {
    note(`${path} is there`);
    return;
  }
  const start = performance.now();
  mkdirSync(dirname(path), { recursive: true });
  const handle = openSync(`${path}.part`, "w");
  writeSync(handle, layout.head);
  for (const { name } of layout.tensors) {
    const parameter = byKey.get(name)!;
    const total = count(parameter.shape);
    for (let done = 0; done < total; done += BLOCK) {
      const values = draw(parameter, seed, done / BLOCK, Math.min(BLOCK, total - done));
      writeSync(handle, dtype === "fp16" ? float32ToFloat16(values) : values);
    }
  }
  closeSync(handle);
  renameSync(`${path}.part`, path);
  note(`${path}: ${(layout.sizeBytes / 2 ** 30).toFixed(2)} GiB in ${((performance.now() - start) / 1000).toFixed(0)} s`);
}

function writeTexts(folder: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
}

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

/**
 * Writes a latent consistency model (`lcm/`, diffusers layout) and a PickScore (`pickscore/`, a transformers CLIPModel) of the published models' shapes, with seeded
 * random weights: PyTorch's and CLIP's starting values, so that every activation stays finite. The text encoder carries transformers' `text_model.` prefix.
 */
export function writeFullSizeModels(folder: string, options: FullSizeOptions): { readonly model: string; readonly reward: string } {
  const paths = { model: join(folder, "lcm"), reward: join(folder, "pickscore") };
  const tokenizer = clipTokenizerFiles(syntheticBpe(), TOKENS);
  const ending = `${options.variant === undefined ? "" : `.${options.variant}`}.safetensors`;
  const library = (name: string): readonly [string, string] => [name.startsWith("CLIP") ? "transformers" : "diffusers", name];
  writeTexts(paths.model, {
    "model_index.json": json({
      _class_name: "LatentConsistencyModelPipeline", feature_extractor: [null, null], image_encoder: [null, null], requires_safety_checker: false, safety_checker: [null, null],
      scheduler: library("LCMScheduler"), text_encoder: library("CLIPTextModel"), tokenizer: library("CLIPTokenizer"), unet: library("UNet2DConditionModel"), vae: library("AutoencoderKL"),
    }),
  });
  writeTexts(join(paths.model, "scheduler"), { "scheduler_config.json": json(schedulerConfig) });
  writeTexts(join(paths.model, "tokenizer"), tokenizer);
  writeTexts(join(paths.model, "unet"), { "config.json": json({ _class_name: "UNet2DConditionModel", ...unetConfig }) });
  writeTexts(join(paths.model, "vae"), { "config.json": json({ _class_name: "AutoencoderKL", ...vaeConfig }) });
  writeTexts(join(paths.model, "text_encoder"), { "config.json": json(textConfig) });
  writeTexts(paths.reward, { ...tokenizer, "config.json": json(pickScoreConfig) });
  const prefixed = (parameters: readonly Parameter[]): Parameter[] => parameters.map((parameter) => ({ ...parameter, key: `text_model.${parameter.key}` }));
  const { seed } = options;
  writeRandomWeights(join(paths.model, "unet", `diffusion_pytorch_model${ending}`), unetParameters(parseUNetConfig(unetConfig)), options);
  writeRandomWeights(join(paths.model, "vae", `diffusion_pytorch_model${ending}`), autoencoderParameters(parseAutoencoderConfig(vaeConfig)), { ...options, seed: seed + 1 });
  writeRandomWeights(join(paths.model, "text_encoder", `model${ending}`), prefixed(clipTextParameters(parseClipTextConfig(textConfig))), { ...options, seed: seed + 2 });
  writeRandomWeights(join(paths.reward, `model${ending}`), clipParameters(parseClipConfig(pickScoreConfig)), { ...options, seed: seed + 3 });
  return paths;
}
