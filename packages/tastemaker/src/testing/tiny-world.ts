import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  autoencoderParameters,
  clipParameters,
  clipTextParameters,
  type ConfigJson,
  encodeDiffusersDirectory,
  encodeSafetensors,
  initialise,
  type Parameter,
  parseAutoencoderConfig,
  parseClipConfig,
  parseClipTextConfig,
  parseUNetConfig,
  type TensorToStore,
  unetParameters,
} from "@tastemaker/diffusion";
import { normal } from "@tastemaker/tensor";
import { type ClipBpe, clipTokenizerFiles, trainClipBpe } from "../data/clip-bpe.ts";

/** Tokens of every text encoder here. */
const length = 8;
const words = ["a", "red", "blue", "green", "cat", "dog", "fox", "house", "small", "big"];

/** Prompts that the tiny model's vocabulary knows. */
export const tinyPrompts: readonly string[] = ["a red cat", "a blue dog", "a green fox", "a small house", "a big red dog", "a small blue cat", "a green house", "a big fox"];
/** Prompts of the same words that are in no training list. */
export const tinyHeldOutPrompts: readonly string[] = ["a blue fox", "a red house", "a small green dog", "a big cat", "a blue house", "a green cat"];

function values(parameters: readonly Parameter[], seed: number): Map<string, TensorToStore> {
  const initial = initialise(parameters, seed);
  return new Map(parameters.map(({ key, shape }) => [key, { dtype: "F32", shape, data: initial.get(key)! }]));
}

async function writeFiles(folder: string, files: ReadonlyMap<string, string | Uint8Array>): Promise<void> {
  for (const [name, data] of files) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, data);
  }
}

function textConfig(bpe: ClipBpe): ConfigJson {
  const vocabulary = Object.keys(bpe.vocab).length;
  return { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, hidden_act: "quick_gelu", max_position_embeddings: length, vocab_size: vocabulary, eos_token_id: vocabulary - 1 };
}

/**
 * Writes a latent consistency model of random weights (pictures of 8×8 pixels, latents 4×4×4) and two rewards for it: `model/`, `clip/` (a CLIPModel) and `taste/`
 * (an aesthetic head on it); also a diffusion model of the same weights but the guidance embedding's, `diffusion/`. Everything is a function of `seed`.
 */
export async function writeTinyWorld(folder: string, seed: number): Promise<{ model: string; diffusion: string; clip: string; taste: string }> {
  const bpe = trainClipBpe(new Map(words.map((word) => [word, 1])));
  const tokenizerFiles = new Map(Object.entries(clipTokenizerFiles(bpe, length)));
  const unet = {
    sample_size: 4,
    in_channels: 4,
    out_channels: 4,
    block_out_channels: [8, 16],
    down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
    layers_per_block: 1,
    attention_head_dim: 2,
    cross_attention_dim: 16,
    norm_num_groups: 4,
    time_cond_proj_dim: 8,
  };
  const vae = {
    in_channels: 3,
    out_channels: 3,
    latent_channels: 4,
    block_out_channels: [8, 8],
    down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    layers_per_block: 1,
    norm_num_groups: 4,
    scaling_factor: 0.5,
  };
  const text = textConfig(bpe);
  const schedule = { beta_schedule: "scaled_linear", beta_start: 0.00085, beta_end: 0.012, num_train_timesteps: 1000 };
  const pipeline = (name: string, unetConfig: typeof unet | Omit<typeof unet, "time_cond_proj_dim">, scheduler: ConfigJson): Map<string, string | Uint8Array> =>
    encodeDiffusersDirectory({
      pipeline: name,
      unet: { config: { _class_name: "UNet2DConditionModel", ...unetConfig }, tensors: values(unetParameters(parseUNetConfig(unetConfig)), seed) },
      vae: { config: { _class_name: "AutoencoderKL", ...vae }, tensors: values(autoencoderParameters(parseAutoencoderConfig(vae)), seed + 1) },
      textEncoder: { config: text, tensors: values(clipTextParameters(parseClipTextConfig(text)), seed + 2) },
      scheduler,
      tokenizerFiles: new Map([...tokenizerFiles].map(([file, content]) => [file, new TextEncoder().encode(content)])),
    });
  await writeFiles(join(folder, "model"), pipeline("LatentConsistencyModelPipeline", unet, { _class_name: "LCMScheduler", ...schedule, original_inference_steps: 50 }));
  const { time_cond_proj_dim: _embedding, ...plain } = unet;
  await writeFiles(join(folder, "diffusion"), pipeline("StableDiffusionPipeline", plain, { _class_name: "DDIMScheduler", ...schedule, set_alpha_to_one: false, steps_offset: 1, clip_sample: false }));

  const vision = { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, hidden_act: "quick_gelu", image_size: 8, patch_size: 4 };
  const clip = { model_type: "clip", projection_dim: 8, logit_scale_init_value: 2.6592, text_config: text, vision_config: vision };
  const metadata = new Map([["format", "pt"]]);
  await writeFiles(
    join(folder, "clip"),
    new Map<string, string | Uint8Array>([...tokenizerFiles, ["config.json", JSON.stringify(clip)], ["model.safetensors", encodeSafetensors(values(clipParameters(parseClipConfig(clip)), seed + 3), metadata)]]),
  );
  const head: [string, TensorToStore][] = [
    ["layers.0.weight", { dtype: "F32", shape: [1, 8], data: Float32Array.from(normal({ seed, stream: "taste", indices: [] }, 8)) }],
    ["layers.0.bias", { dtype: "F32", shape: [1], data: new Float32Array(1) }],
  ];
  await writeFiles(
    join(folder, "taste"),
    new Map<string, string | Uint8Array>([
      ["config.json", JSON.stringify({ clip: "../clip", layers: [1] })],
      ["model.safetensors", encodeSafetensors(new Map(head), metadata)],
    ]),
  );
  return { model: join(folder, "model"), diffusion: join(folder, "diffusion"), clip: join(folder, "clip"), taste: join(folder, "taste") };
}

/** A configuration that trains the tiny model in a second or two; `changes` override it. */
export function tinyTrainConfig(world: { readonly model: string; readonly taste: string }, changes: object = {}): object {
  return {
    model: world.model,
    prompts: tinyPrompts,
    rewards: [{ name: "aesthetic", path: world.taste }],
    lora: { rank: 2, alpha: 4 },
    steps: 3,
    iterations: 6,
    learningRate: 5e-3,
    beta: 0.5,
    threads: 1,
    evaluation: { every: 0, prompts: tinyHeldOutPrompts, count: tinyHeldOutPrompts.length },
    checkpoint: { every: 2 },
    ...changes,
  };
}
