import { join } from "node:path";
import { asJsonObject, clipImageEmbedding, linear, loadCheckpoint, parseJson, scopeOf, shorterSideCrop } from "@tastemaker/diffusion";
import { type Backend, div, gelu, maximum, reshape, sqrt, square, sum, type Tensor, UsageError, weight } from "@tastemaker/tensor";
import { z } from "zod";
import { openNodeFolder } from "../platform/node-files.ts";
import { clipScope, openClipFiles } from "./clip-model.ts";
import { modelReward } from "./model-reward.ts";
import type { Reward } from "./reward.ts";

/** `config.json` of a head. */
const headSchema = z.object({
  clip: z.string().min(1).describe("folder of the CLIPModel, relative to this file"),
  layers: z.array(z.int().min(1)).min(1).describe("output width of each linear layer; the last is 1"),
  activation: z.enum(["none", "relu", "gelu"]).default("none").describe("between the layers"),
  unit: z.string().default("points"),
  typicalRange: z.tuple([z.number(), z.number()]).default([-3, 3]),
  source: z.string().default("an affine or small network on CLIP's picture embedding, as LAION's aesthetic predictor"),
});

const activations = {
  none: (x: Tensor): Tensor => x,
  relu: (x: Tensor): Tensor => maximum(x, 0),
  gelu,
} as const;

/**
 * A taste learnt on top of a frozen CLIP: linear layers (`layers.<i>.weight` [out, in], `layers.<i>.bias`) on the picture's embedding of length 1.
 * The folder holds `config.json` {clip, layers, activation} and `model.safetensors`.
 * @throws UsageError `head-config` and whatever the files give reason to
 */
export async function openAestheticReward(path: string, backend: Backend): Promise<Reward> {
  const folder = await openNodeFolder(path);
  const where = `${folder.path}/config.json`;
  const parsed = headSchema.safeParse(asJsonObject(parseJson(await folder.readText("config.json"), where), where));
  if (!parsed.success) throw new UsageError("head-config", `aesthetic head: expected {"clip", "layers"}, got ${z.prettifyError(parsed.error).replaceAll("\n", " ")} (at ${where})`);
  const { clip, layers, activation, unit, typicalRange, source } = parsed.data;
  if (layers.at(-1) !== 1) throw new UsageError("head-config", `aesthetic head: expected 1 as the last layer's width, got ${layers.at(-1)} (at ${where})`);
  const files = await openClipFiles(join(folder.path, clip), false);
  const { config } = files;
  const file = await folder.open("model.safetensors");
  const weights = await loadCheckpoint([file]);
  const head = (embedding: Tensor): Tensor => {
    const scope = scopeOf((key, shape) => weight(weights.take(key, shape)));
    let x = div(embedding, sqrt(sum(square(embedding), 1, true)));
    for (const [index, width] of layers.entries()) {
      x = linear(scope.at(`layers.${index}`), x, width);
      if (index < layers.length - 1) x = activations[activation](x);
    }
    return reshape(x, [x.shape[0]!]);
  };
  return modelReward(
    {
      name: "aesthetic",
      unit,
      typicalRange,
      source,
      needsText: false,
      describe: "How pleasing a picture is, whatever it shows, as learnt from comparisons.",
      files: [file.name, ...files.files],
    },
    {
      preprocessing: shorterSideCrop(config.vision.imageSize, "floor"),
      textInputs: () => ({}),
      textsOf: () => Promise.resolve({}),
      score: (pixelValues) => head(clipImageEmbedding(clipScope(files), config, pixelValues)),
      dispose: () => Promise.resolve(),
    },
    backend,
  );
}
