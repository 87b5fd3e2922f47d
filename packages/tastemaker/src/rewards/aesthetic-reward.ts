import { dirname, join, resolve } from "node:path";
import { statSync } from "node:fs";
import { asJsonObject, type Checkpoint, clipImageEmbedding, linear, loadCheckpoint, openAffineHead, parseJson, type RandomAccessFile, type Scope, scopeOf, unitRows } from "@tastemaker/diffusion";
import { type Backend, gelu, maximum, reshape, type Tensor, UsageError, weight } from "@tastemaker/tensor";
import { z } from "zod";
import { openNodeFolder } from "../platform/node-files.ts";
import { clipPreprocessing, openClipNetwork } from "./clip-network.ts";
import { modelReward, type RewardDescription } from "./model-reward.ts";
import type { Reward } from "./reward.ts";
import { openRewardFile } from "./reward-files.ts";

/** `config.json` of a head made here. */
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

export type HeadConfig = z.infer<typeof headSchema>;

/** A head as it was found: what to compute, and the CLIP it belongs to. */
interface OpenedHead {
  readonly file: string;
  readonly clip: string;
  apply(embedding: Tensor): Tensor;
  readonly about: Pick<RewardDescription, "unit" | "typicalRange" | "source" | "licence">;
}

/** A head's score of embeddings of length 1, `[B, E]` → `[B]`. */
export function headScore(scope: Scope, { layers, activation }: Pick<HeadConfig, "layers" | "activation">, embedding: Tensor): Tensor {
  let x = embedding;
  for (const [index, width] of layers.entries()) {
    x = linear(scope.at(`layers.${index}`), x, width);
    if (index < layers.length - 1) x = activations[activation](x);
  }
  return reshape(x, [x.shape[0]!]);
}

/** Reads a folder with `config.json` {clip, layers, activation} and `model.safetensors`. @throws UsageError `head-config` */
export async function readOwnHead(path: string): Promise<{ readonly file: RandomAccessFile; readonly clip: string; readonly config: HeadConfig }> {
  const folder = await openNodeFolder(path);
  const where = `${folder.path}/config.json`;
  const parsed = headSchema.safeParse(asJsonObject(parseJson(await folder.readText("config.json"), where), where));
  if (!parsed.success) throw new UsageError("head-config", `aesthetic head: expected {"clip", "layers"}, got ${z.prettifyError(parsed.error).replaceAll("\n", " ")} (at ${where})`);
  const { clip, layers } = parsed.data;
  if (layers.at(-1) !== 1) throw new UsageError("head-config", `aesthetic head: expected 1 as the last layer's width, got ${layers.at(-1)} (at ${where})`);
  return { file: await folder.open("model.safetensors"), clip: resolve(folder.path, clip), config: parsed.data };
}

async function openOwnHead(path: string): Promise<OpenedHead> {
  const { file, clip, config } = await readOwnHead(path);
  const weights: Checkpoint = await loadCheckpoint([file]);
  const { unit, typicalRange, source } = config;
  const apply = (embedding: Tensor): Tensor => headScore(scopeOf((key, shape) => weight(weights.take(key, shape))), config, embedding);
  return { file: file.name, clip, apply, about: { unit, typicalRange, source } };
}

/** Whether a path is a head made here: a folder with its own kind of `config.json`. */
export function isOwnHead(path: string): boolean {
  return statSync(path).isDirectory() && statSync(join(path, "model.safetensors"), { throwIfNoEntry: false }) !== undefined;
}

/** A published head: one file of linear layers. */
async function openPublishedHead(path: string, clip: string | undefined): Promise<OpenedHead> {
  const file = await openRewardFile(path);
  const beside = file.architecture.clip;
  const tower = clip ?? (beside === undefined ? undefined : resolve(dirname(path), beside));
  if (tower === undefined) {
    throw new UsageError("head-clip", `aesthetic head: expected the CLIP whose embeddings it judges, got none (at ${file.path})`, 'say where it is: {"name": "aesthetic", "path": HEAD, "clip": FOLDER}, for LAION\'s heads openai/clip-vit-large-patch14');
  }
  const head = openAffineHead(file.weights);
  return {
    file: file.path,
    clip: tower,
    apply: (embedding) => {
      const width = embedding.shape[1]!;
      if (width === head.width) return head.apply(embedding);
      throw new UsageError("head-width", `aesthetic head: expected embeddings of ${head.width} numbers, got ${width} from the CLIP (at ${file.path})`, "LAION's heads of 768 belong to ViT-L/14");
    },
    about: {
      unit: "points of 10",
      typicalRange: [4, 8],
      source: "Schuhmann 2022, LAION aesthetic predictor V2 (sac+logos+ava1-l14-linearMSE): affine maps on the CLIP ViT-L/14 embedding of length 1",
      licence: "Apache-2.0",
    },
  };
}

/**
 * How pleasing a picture is, by a head on a frozen CLIP's picture embedding of length 1.
 *
 * @param path A head made here (a folder with `config.json`), or a published one: a file of linear layers such as `sac+logos+ava1-l14-linearMSE.pth`.
 * @param clip The CLIP of a published head.
 * @throws UsageError `head-config`, `head-clip`, `head-layers`, `head-width` and whatever the files give reason to
 */
export async function openAestheticReward(path: string, backend: Backend, clip?: string): Promise<Reward> {
  const head = isOwnHead(path) ? await openOwnHead(path) : await openPublishedHead(path, clip);
  const tower = await openClipNetwork(head.clip);
  return modelReward(
    {
      name: "aesthetic",
      ...head.about,
      needsText: false,
      describe: "How pleasing a picture is, whatever it shows, as learnt from ratings.",
      files: [head.file, ...tower.files],
      clip: tower,
    },
    {
      preprocessing: await clipPreprocessing(tower, "half-even"),
      textInputs: () => ({}),
      textsOf: () => Promise.resolve({}),
      score: (pixelValues) => head.apply(unitRows(clipImageEmbedding(tower.scope(), tower.config, pixelValues))),
      dispose: () => Promise.resolve(),
    },
    backend,
  );
}
