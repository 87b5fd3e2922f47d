import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  autoencoderParameters, clipParameters, clipTextParameters, encodeDiffusersDirectory, encodeSafetensors, initialise, type Parameter,
  parseAutoencoderConfig, parseClipConfig, parseClipTextConfig, parseUNetConfig, type TensorToStore, unetParameters,
} from "@tastemaker/diffusion";
import { clipTokenizerFiles, trainClipBpe } from "../../packages/tastemaker/src/data/clip-bpe.ts";
import { loadSettings, clipSettings, unetSettings, vaeSettings } from "../../packages/tastemaker/src/pretrain/settings.ts";

const values = (parameters: readonly Parameter[], seed: number): Map<string, TensorToStore> => {
  const initial = initialise(parameters, seed);
  return new Map(parameters.map(({ key, shape }) => [key, { dtype: "F32", shape, data: initial.get(key)! }]));
};

/** Tokens of the embedded world's text encoders. */
const tokenCount = 20;

/**
 * Writes a latent consistency model of the embedded world's sizes and a CLIP reward for it, with random weights: `model/` (diffusers layout) and
 * `clip/` (transformers CLIPModel). What is measured does not depend on the values.
 */
export async function writeRandomWorld(folder: string): Promise<{ model: string; clip: string }> {
  const bpe = trainClipBpe(new Map(["a", "red", "blue", "cat", "dog", "house", "on", "background", "small", "big"].map((word) => [word, 1])));
  const tokenizerFiles = new Map(Object.entries(clipTokenizerFiles(bpe, tokenCount)).map(([name, content]) => [name, new TextEncoder().encode(content)]));
  const vocabulary = Object.keys(bpe.vocab).length;
  const planned = { unet: await loadSettings(unetSettings, undefined, ["vae=unused"]), vae: await loadSettings(vaeSettings, undefined, []), clip: await loadSettings(clipSettings, undefined, []) };
  const unet = { ...planned.unet.config, time_cond_proj_dim: 256 };
  const vae = { ...planned.vae.config, scaling_factor: 0.5 };
  const ids = { vocab_size: vocabulary, eos_token_id: vocabulary - 1 };
  const text = { ...planned.unet.textConfig, ...ids };
  const clip = { model_type: "clip", architectures: ["CLIPModel"], ...planned.clip.config, text_config: { ...(planned.clip.config["text_config"] as object), ...ids } };
  const files = encodeDiffusersDirectory({
    pipeline: "LatentConsistencyModelPipeline",
    unet: { config: { _class_name: "UNet2DConditionModel", ...unet }, tensors: values(unetParameters(parseUNetConfig(unet)), 1) },
    vae: { config: { _class_name: "AutoencoderKL", ...vae }, tensors: values(autoencoderParameters(parseAutoencoderConfig(vae)), 2) },
    textEncoder: { config: { model_type: "clip_text_model", ...text }, tensors: values(clipTextParameters(parseClipTextConfig(text)), 3) },
    scheduler: { _class_name: "LCMScheduler", beta_schedule: "scaled_linear", beta_start: 0.00085, beta_end: 0.012, num_train_timesteps: 1000, original_inference_steps: 50 },
    tokenizerFiles,
  });
  const clipFiles = new Map<string, Uint8Array>([
    ...tokenizerFiles,
    ["config.json", new TextEncoder().encode(JSON.stringify(clip))],
    ["model.safetensors", encodeSafetensors(values(clipParameters(parseClipConfig(clip)), 4), new Map([["format", "pt"]]))],
  ]);
  const paths = { model: join(folder, "model"), clip: join(folder, "clip") };
  for (const [root, list] of [[paths.model, files], [paths.clip, clipFiles]] as const) {
    for (const [name, bytes] of list) {
      await mkdir(dirname(join(root, name)), { recursive: true });
      await writeFile(join(root, name), bytes);
    }
  }
  return paths;
}
