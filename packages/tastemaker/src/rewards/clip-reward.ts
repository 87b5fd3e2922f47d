import { clipImageEmbedding, clipLogitScale, cosine, shorterSideCrop } from "@tastemaker/diffusion";
import { type Backend, mul } from "@tastemaker/tensor";
import { clipScope, openClipFiles, TextEmbeddings } from "./clip-model.ts";
import { modelReward } from "./model-reward.ts";
import type { Reward } from "./reward.ts";

/** What distinguishes the two scores of a CLIP. */
const kinds = {
  "clip-score": {
    unit: "cosine",
    typicalRange: [0, 1],
    source: "Hessel et al. 2021, CLIPScore (without its factor 2.5 or 100 and without clamping at 0, so that its gradient never vanishes)",
    describe: "Cosine of the picture's and the prompt's CLIP embeddings: does the picture show what the prompt says?",
  },
  "pick-score": {
    unit: "logits",
    typicalRange: [15, 25],
    source: "Kirstain et al. 2023, PickScore: exp(logit scale) times the cosine of a CLIP tuned on people's choices",
    describe: "Which picture would people choose for the prompt, as learnt from half a million choices.",
  },
} as const;

/**
 * CLIPScore or PickScore over any transformers `CLIPModel` folder. The picture is resized as the metric does it (antialiased cubic), linearly.
 * @throws UsageError whatever the folder's files give reason to
 */
export async function openClipReward(name: keyof typeof kinds, path: string, backend: Backend): Promise<Reward> {
  const files = await openClipFiles(path, true);
  const texts = new TextEmbeddings(files, backend);
  const { config } = files;
  const about = { name, ...kinds[name], needsText: true, files: files.files };
  return modelReward(
    about,
    {
      preprocessing: shorterSideCrop(config.vision.imageSize, "floor"),
      textInputs: (batchSize) => ({ text_embeds: { shape: [batchSize, config.projection] } }),
      textsOf: async (prompts) => ({ text_embeds: await texts.batch(prompts) }),
      score: (pixelValues, inputs) => {
        const scope = clipScope(files);
        const cos = cosine(clipImageEmbedding(scope, config, pixelValues), inputs["text_embeds"]!);
        return name === "clip-score" ? cos : mul(clipLogitScale(scope, config), cos);
      },
      dispose: () => texts.dispose(),
    },
    backend,
  );
}
