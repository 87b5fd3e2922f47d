import { basename } from "node:path";
import { checkTokenIds, type ClipConfig, clipImageEmbedding, clipLogitScale, clipTextEmbedding, cosine, encodeSafetensors } from "@tastemaker/diffusion";
import { mul } from "@tastemaker/tensor";
import { openClipNetwork } from "../rewards/clip-network.ts";
import { clipKindPreprocessing, clipKinds } from "../rewards/clip-reward.ts";
import { openRewardTokenizer } from "../rewards/reward-tokenizer.ts";
import type { OpenedFit } from "./fit-model.ts";
import { pixelInput } from "./pixel-input.ts";
import { copiedFiles, tokenizerFiles } from "./copied-files.ts";

/** The parameters around a tower's layers that are trained when only its last ones are. */
const alwaysTrained = /^(?:logit_scale$|visual_projection\.|text_projection\.|vision_model\.post_layernorm\.|text_model\.final_layer_norm\.)/;

/** Of HPSv2: 20 of the 32 layers of its vision tower and 11 of the 24 of its text tower. */
const hpsShares = { vision_model: 20 / 32, text_model: 11 / 24 } as const;

/**
 * Which parameters of a CLIP are trained: the last `last` layers of both towers with what comes after them. Undefined: the kind's own habit, everything for PickScore, HPSv2's shares
 * of the towers for HPSv2.
 */
export function clipTraining(kind: "pick-score" | "hpsv2", config: ClipConfig, last: number | undefined): (key: string) => boolean {
  if (last === undefined && kind === "pick-score") return () => true;
  const first = (tower: "vision_model" | "text_model", layers: number): number => layers - Math.min(layers, last ?? Math.ceil(layers * hpsShares[tower]));
  const firsts = { vision_model: first("vision_model", config.vision.layers), text_model: first("text_model", config.text.layers) };
  return (key) => {
    const layer = /^(vision_model|text_model)\.encoder\.layers\.(\d+)\./.exec(key);
    return layer === null ? alwaysTrained.test(key) : Number(layer[2]) >= firsts[layer[1] as keyof typeof firsts];
  };
}

/** `config.json` of a transformers `CLIPModel`. */
function configJson({ vision, text, projection, logitScaleInit }: ClipConfig): object {
  const tower = ({ width, inner, layers, heads, activation, eps }: ClipConfig["vision"] | ClipConfig["text"]): object => ({
    hidden_size: width,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    hidden_act: activation,
    layer_norm_eps: eps,
    projection_dim: projection,
  });
  return {
    architectures: ["CLIPModel"],
    model_type: "clip",
    projection_dim: projection,
    logit_scale_init_value: logitScaleInit,
    text_config: { ...tower(text), vocab_size: text.vocabulary, max_position_embeddings: text.positions, eos_token_id: text.eosTokenId },
    vision_config: { ...tower(vision), image_size: vision.imageSize, patch_size: vision.patchSize },
  };
}

/**
 * PickScore (Kirstain et al. 2023, arXiv 2305.01569) and HPSv2 (Wu et al. 2023, arXiv 2306.09341): a CLIP whose exp(logit scale)·cosine are the logits of choosing a picture. Pictures
 * and prompts are read as the reward reads them later.
 *
 * @param from A CLIP as `openClipNetwork` takes it. @param last See `clipTraining`.
 * @throws UsageError whatever the files give reason to
 */
export async function clipFit(kind: "pick-score" | "hpsv2", from: string, vocabulary: string | undefined, last: number | undefined): Promise<OpenedFit> {
  const clip = await openClipNetwork(from, clipKinds[kind].activation);
  const { config, folder } = clip;
  const tokenizer = await openRewardTokenizer(clipKinds[kind].tokenizer, folder, vocabulary);
  const length = config.text.positions;
  const stored = clip.scope();
  const known = new Map<string, Int32Array>();
  const idsOf = (prompt: string): Int32Array => {
    let ids = known.get(prompt);
    if (ids === undefined) {
      ({ ids } = tokenizer.encode([prompt], length));
      checkTokenIds(ids, config.text.vocabulary, `tokenizer of ${basename(clip.path)}`);
      known.set(prompt, ids);
    }
    return ids;
  };
  const model: OpenedFit = {
    name: kind,
    path: clip.path,
    weightFiles: clip.files,
    // PickScore's rate for ViT-H; small towers take and need more.
    usualRate: config.vision.width >= 512 ? 3e-6 : 2e-4,
    usualPasses: 4,
    picture: pixelInput(await clipKindPreprocessing(kind, clip)),
    isTrained: clipTraining(kind, config, last),
    stored: (key, shape) => stored.get(key, shape),
    textInputs: (count) => ({ input_ids: { shape: [count, length], dtype: "int32" } }),
    textsOf: (prompts) => {
      const ids = new Int32Array(prompts.length * length);
      for (const [row, prompt] of prompts.entries()) ids.set(idsOf(prompt), row * length);
      return { input_ids: ids };
    },
    score: (scope, pictures, texts) => mul(clipLogitScale(scope, config), cosine(clipImageEmbedding(scope, config, pictures), clipTextEmbedding(scope, config, texts["input_ids"]!))),
    files: async (values, parameters) => {
      const tensors = new Map(parameters.map(({ key, shape }) => [key, { dtype: "F16" as const, shape, data: values.get(key)! }]));
      return new Map<string, string | Uint8Array>([
        ...(await copiedFiles(folder, ["preprocessor_config.json", "processor_config.json"])),
        ...(await tokenizerFiles(clipKinds[kind].tokenizer, folder, vocabulary)),
        ["config.json", `${JSON.stringify(configJson(config), null, 2)}\n`],
        ["model.safetensors", encodeSafetensors(tensors, new Map([["format", "pt"]]))],
      ]);
    },
  };
  return model;
}
