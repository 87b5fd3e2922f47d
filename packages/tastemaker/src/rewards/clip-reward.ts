import { clipImageEmbedding, clipLogitScale, cosine, type CropRule, longerSidePad, type OpenClipChoices, type Preprocessing, type Tokenizer, type TokenizerKind } from "@tastemaker/diffusion";
import { type Backend, maximum, mul, type Tensor } from "@tastemaker/tensor";
import { type ClipNetwork, clipPreprocessing, clipTextTower, openClipNetwork } from "./clip-network.ts";
import { modelReward, type ScoreModel } from "./model-reward.ts";
import type { Reward } from "./reward.ts";
import { openRewardTokenizer } from "./reward-tokenizer.ts";
import { TextEmbeddings } from "./text-embeddings.ts";

/** How a score is made of a CLIP. */
interface ClipKind extends Pick<Reward, "unit" | "typicalRange" | "source" | "licence" | "describe"> {
  readonly tokenizer: TokenizerKind;
  /** Of weights that are a single file. */
  readonly activation: OpenClipChoices["activation"];
  readonly preprocessing: CropRule | "pad";
  /** Captions that are too long lose their end token, as in torchmetrics. */
  readonly cutsEnd?: boolean;
  score(cosines: Tensor, scale: () => Tensor): Tensor;
}

const hpsDescription = "Which picture would people choose for the prompt, as learnt from 800 000 choices between many models' pictures.";
const hps: ClipKind = {
  unit: "cosine",
  typicalRange: [0.2, 0.34],
  source: "Wu et al. 2023, Human Preference Score v2 (arXiv 2306.09341): cosine without logit scale; longer side resized, padded",
  licence: "Apache-2.0",
  describe: hpsDescription,
  tokenizer: "open_clip",
  activation: "gelu",
  preprocessing: "pad",
  score: (cosines) => cosines,
};

/** The scores of CLIP models. */
export const clipKinds = {
  "pick-score": {
    unit: "logits",
    typicalRange: [15, 25],
    source: "Kirstain et al. 2023, PickScore (arXiv 2305.01569): exp(logit scale) times the cosine of a CLIP tuned on people's choices",
    licence: "MIT",
    describe: "Which picture would people choose for the prompt, as learnt from half a million choices.",
    tokenizer: "hf_fast",
    activation: "gelu",
    preprocessing: "floor",
    score: (cosines, scale) => mul(scale(), cosines),
  },
  hpsv2: hps,
  "hpsv2.0": { ...hps, source: `${hps.source}; version 2.0, whose values are not comparable with 2.1` },
  "hpsv2.1": { ...hps, source: `${hps.source}; version 2.1, whose values are not comparable with 2.0` },
  "clip-score": {
    unit: "cosine",
    typicalRange: [0, 1],
    source: "Hessel et al. 2021, CLIPScore (arXiv 2104.08718), with OpenAI's preprocessing; without its factor 2.5 or 100 and without clamping at 0, so that its gradient never vanishes",
    licence: "MIT",
    describe: "Cosine of the picture's and the prompt's CLIP embeddings: does the picture show what the prompt says?",
    tokenizer: "openai",
    activation: "quick_gelu",
    preprocessing: "half-even",
    score: (cosines) => cosines,
  },
  "clip-score-100": {
    unit: "100 × cosine, at least 0",
    typicalRange: [15, 35],
    source: "CLIPScore as torchmetrics computes it for one picture: max(100·cosine, 0), transformers' preprocessing; captions longer than the context lose their end token there, and here",
    licence: "MIT",
    describe: "CLIPScore between 0 and 100, to compare with published tables; its gradient is zero where the cosine is negative.",
    tokenizer: "hf_fast",
    activation: "quick_gelu",
    preprocessing: "floor",
    cutsEnd: true,
    score: (cosines) => maximum(mul(cosines, 100), 0),
  },
} as const satisfies Readonly<Record<string, ClipKind>>;

export type ClipRewardName = keyof typeof clipKinds;

/** The preprocessing that a score prescribes for a CLIP. */
export function clipKindPreprocessing(name: ClipRewardName, clip: ClipNetwork): Promise<Preprocessing> {
  const { preprocessing } = clipKinds[name];
  return preprocessing === "pad" ? Promise.resolve(longerSidePad(clip.config.vision.imageSize)) : clipPreprocessing(clip, preprocessing);
}

/** The first `length` ids, as torchmetrics cuts: a caption that is too long loses its end token, on which models pool. */
export function idsWithoutEnd(tokenizer: Tokenizer, text: string, length: number): Int32Array {
  const ids = new Int32Array(length).fill(tokenizer.padId);
  ids.set(tokenizer.tokenIds(text).slice(0, length));
  return ids;
}

/**
 * PickScore, HPSv2 or CLIPScore.
 *
 * @param path A transformers folder or a checkpoint file; see `openClipNetwork`.
 * @param vocabulary File or folder of the tokenizer, where it does not lie beside the weights.
 * @throws UsageError whatever the files give reason to
 */
export async function openClipReward(name: ClipRewardName, path: string, backend: Backend, vocabulary?: string): Promise<Reward> {
  const kind: ClipKind = clipKinds[name];
  const clip = await openClipNetwork(path, kind.activation);
  const tokenizer = await openRewardTokenizer(kind.tokenizer, clip.folder, vocabulary);
  const tower = clipTextTower(clip, tokenizer);
  const texts = new TextEmbeddings(kind.cutsEnd === true ? { ...tower, idsOf: (text) => idsWithoutEnd(tokenizer, text, tower.length) } : tower, backend);
  const { config } = clip;
  const model: ScoreModel = {
    preprocessing: await clipKindPreprocessing(name, clip),
    textInputs: (batchSize) => ({ text_embeds: { shape: [batchSize, config.projection] } }),
    textsOf: async (prompts) => ({ text_embeds: await texts.batch(prompts) }),
    score: (pixelValues, inputs) => {
      const scope = clip.scope();
      return kind.score(cosine(clipImageEmbedding(scope, config, pixelValues), inputs["text_embeds"]!), () => clipLogitScale(scope, config));
    },
    dispose: () => texts.dispose(),
  };
  const { unit, typicalRange, source, licence, describe } = kind;
  return modelReward({ name, unit, typicalRange, source, ...(licence === undefined ? {} : { licence }), describe, needsText: true, files: clip.files, clip }, model, backend);
}
