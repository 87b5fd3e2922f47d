import {
  type AffineHead,
  type Blip,
  blipImageEmbedding,
  blipImageTokens,
  blipJointClass,
  blipTextClass,
  blipTextEmbedding,
  checkTokenIds,
  cosine,
  type Folder,
  openAffineHead,
  openBlip,
  shorterSideCrop,
} from "@tastemaker/diffusion";
import { type Backend, div, sub, UsageError } from "@tastemaker/tensor";
import { modelReward, type ScoreModel } from "./model-reward.ts";
import type { Reward } from "./reward.ts";
import { openRewardFile, towerChoices } from "./reward-files.ts";
import { openRewardTokenizer } from "./reward-tokenizer.ts";
import { TextEmbeddings } from "./text-embeddings.ts";

/** ImageReward's raw output has these statistics over its authors' data. */
export const imageRewardStatistics = { mean: 0.16717362830052426, std: 1.0333394966054072 } as const;

/** Tokens per text: BLIP pads and cuts to this. */
export const blipTextLength = 35;

/** BLIP or ImageReward on disk. */
export interface BlipFiles {
  readonly path: string;
  readonly blip: Blip;
  /** ImageReward's head on the joint class token; undefined for BLIP itself. */
  readonly head: AffineHead | undefined;
  readonly folder: Folder;
}

/**
 * Opens a checkpoint of BLIP (`{"model": …}`) or of ImageReward (`blip.*` and `mlp.*`).
 * @throws UsageError whatever the file gives reason to
 */
export async function openBlipFiles(path: string): Promise<BlipFiles> {
  const file = await openRewardFile(path);
  const { weights, architecture, folder } = file;
  const isImageReward = weights.keys().some((key) => key.startsWith("blip."));
  const prefix = isImageReward ? "blip." : weights.keys().some((key) => key.startsWith("model.visual_encoder.")) ? "model." : "";
  const blip = openBlip(weights.renamed((key) => (key.startsWith(prefix) ? key.slice(prefix.length) : undefined)), towerChoices(architecture));
  return { path: file.path, blip, head: isImageReward ? openAffineHead(weights, "mlp.") : undefined, folder };
}

/**
 * BLIPScore: cosine of picture and text in BLIP's contrastive space (ITC), the text read alone.
 * @throws UsageError whatever the files give reason to
 */
export async function openBlipScore(path: string, backend: Backend, vocabulary?: string): Promise<Reward> {
  const { path: file, blip, head, folder } = await openBlipFiles(path);
  if (head !== undefined) throw new UsageError("reward-kind", `BLIPScore: expected a BLIP, got ImageReward, which never trained its projections (at ${file})`, "image-reward is the reward of such a file");
  const tokenizer = await openRewardTokenizer("bert", folder, vocabulary);
  const width = blip.projection ?? 0;
  const texts = new TextEmbeddings(
    {
      tokenizer,
      length: blipTextLength,
      vocabulary: blip.text.vocabulary,
      where: `tokenizer of ${file}`,
      width,
      embed: (ids, mask) => {
        const scope = blip.scope();
        return blipTextEmbedding(scope, blip, blipTextClass(scope, blip, ids, mask));
      },
    },
    backend,
  );
  const model: ScoreModel = {
    preprocessing: shorterSideCrop(blip.vision.imageSize, "half-even"),
    textInputs: (batchSize) => ({ text_embeds: { shape: [batchSize, width] } }),
    textsOf: async (prompts) => ({ text_embeds: await texts.batch(prompts) }),
    score: (pixelValues, inputs) => {
      const scope = blip.scope();
      return cosine(blipImageEmbedding(scope, blip, blipImageTokens(scope, blip, pixelValues)), inputs["text_embeds"]!);
    },
    dispose: () => texts.dispose(),
  };
  return modelReward(
    {
      name: "blip-score",
      unit: "cosine",
      typicalRange: [0.3, 0.6],
      source: "Li et al. 2022, BLIP (arXiv 2201.12086): cosine of its image-text contrastive heads, as the image-reward package's BLIPScore",
      licence: "BSD-3-Clause",
      needsText: true,
      describe: "Cosine of the picture's and the prompt's BLIP embeddings: does the picture show what the prompt says?",
      files: [file],
    },
    model,
    backend,
  );
}

/**
 * ImageReward: the prompt is read while looking at the picture; an affine head on the class token, standardised.
 * @throws UsageError whatever the files give reason to
 */
export async function openImageReward(path: string, backend: Backend, vocabulary?: string): Promise<Reward> {
  const { path: file, blip, head, folder } = await openBlipFiles(path);
  const tokenizer = await openRewardTokenizer("bert", folder, vocabulary);
  if (head === undefined) throw new UsageError("reward-kind", `ImageReward: expected a checkpoint with blip.* and mlp.*, got a BLIP without a head (at ${file})`, "blip-score is the reward of such a file");
  const textShape = (batchSize: number): { shape: readonly [number, number]; dtype: "int32" } => ({ shape: [batchSize, blipTextLength], dtype: "int32" });
  const { mean, std } = imageRewardStatistics;
  const model: ScoreModel = {
    preprocessing: shorterSideCrop(blip.vision.imageSize, "half-even"),
    textInputs: (batchSize) => ({ input_ids: textShape(batchSize), attention_mask: textShape(batchSize) }),
    textsOf: (prompts) => {
      const { ids, mask } = tokenizer.encode(prompts, blipTextLength);
      checkTokenIds(ids, blip.text.vocabulary, `tokenizer of ${file}`);
      return Promise.resolve({ input_ids: ids, attention_mask: mask });
    },
    score: (pixelValues, inputs) => {
      const scope = blip.scope();
      const tokens = blipImageTokens(scope, blip, pixelValues);
      return div(sub(head.apply(blipJointClass(scope, blip, inputs["input_ids"]!, inputs["attention_mask"]!, tokens)), mean), std);
    },
    dispose: () => Promise.resolve(),
  };
  return modelReward(
    {
      name: "image-reward",
      unit: "standard deviations",
      typicalRange: [-2, 2],
      source: "Xu et al. 2023, ImageReward (arXiv 2304.05977), version 1.0",
      licence: "Apache-2.0",
      needsText: true,
      describe: "Which picture would people choose for the prompt, as learnt from 137 000 comparisons by experts.",
      files: [file],
    },
    model,
    backend,
  );
}
