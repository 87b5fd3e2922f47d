import { stat } from "node:fs/promises";
import { join } from "node:path";
import { checkTokenIds, clipImageEmbedding, clipLogitScale, clipTextEmbedding, cosine, longerSidePad, observed, openAffineHead, type Scope, type Tokenizer, unitRows } from "@tastemaker/diffusion";
import { type Backend, gradients, input, matmul, reshape, sum, type Tensor } from "@tastemaker/tensor";
import { z } from "zod";

import { type ClipNetwork, openClipNetwork } from "../rewards/clip-network.ts";
import { type ClipRewardName, clipKindPreprocessing, clipKinds, idsWithoutEnd } from "../rewards/clip-reward.ts";
import { openRewardFile } from "../rewards/reward-files.ts";
import { openRewardTokenizer } from "../rewards/reward-tokenizer.ts";
import { type CaseFile, type CaseTensor, caseError, fieldsOf, type ReplayedTensor, readCaseTensors, tokenIdsOf } from "./case-file.ts";
import { asInput, checkpointNames, checkPairs, floatPaths, libraryPixels, pixelsOf, type PairScore, picturesOf, pixelGradients, real, rewardCaseFields, rowsOf, whole } from "./reward-case.ts";
import { runOnce } from "./run-once.ts";

const clipFields = z.object(rewardCaseFields);

/** Complete ids of the prompts, cut and padded to the model's length. */
function idsOf(tokenizer: Tokenizer, prompts: readonly string[], length: number): CaseTensor {
  const { ids, shape } = tokenizer.encode(prompts, length);
  return whole(shape, ids);
}

/** The tower's hidden states under `<name>.0`, `<name>.1`, …: after the embeddings, then after each layer. */
function hiddenStates(scope: Scope, tower: "vision_model" | "text_model", name: string, run: (scope: Scope) => void): Record<string, Tensor> {
  const states: Record<string, Tensor> = {};
  run(
    observed(scope, (path, value) => {
      if (path === `${tower}.embeddings`) states[`${name}.0`] = value;
      const layer = new RegExp(`^${tower}\\.encoder\\.layers\\.(\\d+)$`).exec(path);
      if (layer !== null) states[`${name}.${Number(layer[1]) + 1}`] = value;
    }),
  );
  return states;
}

/** Features of pictures and texts, and the cosine of every pair, `[P, N]`. */
async function featuresOf(clip: ClipNetwork, pixels: CaseTensor, ids: CaseTensor, backend: Backend): Promise<{ image_features: ReplayedTensor; text_features: ReplayedTensor; cos: ReplayedTensor }> {
  const { config } = clip;
  const image = clipImageEmbedding(clip.scope(), config, input("pixels", pixels.shape));
  const text = clipTextEmbedding(clip.scope(), config, input("ids", ids.shape, "int32"));
  const cos = matmul(unitRows(text), unitRows(image), { transposeB: true });
  const results = await runOnce({ image_features: image, text_features: text, cos }, new Map([["pixels", pixels], ["ids", ids]]), backend);
  return Object.fromEntries(results) as Awaited<ReturnType<typeof featuresOf>>;
}

async function firstHiddenStates(clip: ClipNetwork, pixels: CaseTensor, ids: CaseTensor, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const [picture, text] = [rowsOf(pixels, [0]), rowsOf(ids, [0])];
  const states = {
    ...hiddenStates(clip.scope(), "vision_model", "vision_hidden", (scope) => clipImageEmbedding(scope, clip.config, input("pixels", picture.shape))),
    ...hiddenStates(clip.scope(), "text_model", "text_hidden", (scope) => clipTextEmbedding(scope, clip.config, input("ids", text.shape, "int32"))),
  };
  return runOnce(states, new Map([["pixels", picture], ["ids", text]]), backend);
}

/** The checkpoint that a case is about: its transformers folder, or its file that is no TorchScript archive. */
async function findCheckpoint(directory: string): Promise<string> {
  const folder = join(directory, "model");
  if ((await stat(folder).catch(() => undefined))?.isDirectory() === true) return folder;
  const names = await checkpointNames(directory);
  const plain = names.filter((name) => !name.includes("torchscript"));
  const found = plain[0] ?? names[0];
  if (found === undefined) throw caseError({ directory }, "model/ or a .pt or .safetensors file", "neither");
  return join(directory, found);
}

/** The scores of torchmetrics, which are those of a transformers folder with another way of cutting captions. */
async function torchmetricsScores(clip: ClipNetwork, tokenizer: Tokenizer, pixels: CaseTensor, captions: readonly string[], backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const { positions } = clip.config.text;
  const longest = Math.min(positions, Math.max(...captions.map((caption) => tokenizer.tokenIds(caption).length)));
  const ids = captions.flatMap((caption) => [...idsWithoutEnd(tokenizer, caption, longest)]);
  const input_ids = whole([captions.length, longest], ids);
  const { cos } = await featuresOf(clip, pixels, input_ids, backend);
  const count = pixels.shape[0]!;
  const pairs = Float64Array.from(captions, (_, n) => 100 * cos.data[n * count + n]!);
  const mean = pairs.reduce((total, value) => total + value, 0) / pairs.length;
  return new Map([
    ["torchmetrics.input_ids", input_ids],
    ["torchmetrics.pair_100cos", real([count], pairs)],
    ["torchmetrics.pair_clamped", real([count], pairs.map((value) => Math.max(value, 0)))],
    ["torchmetrics.score", real([], [Math.max(mean, 0)])],
  ]);
}

/** Replays a case of kind `pickscore`, `hpsv2` or `clipscore`. @throws UsageError whatever its files give reason to */
export async function replayClipReward(kase: CaseFile, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const { prompts, pairs } = fieldsOf(kase, clipFields);
  const name = ({ pickscore: "pick-score", hpsv2: "hpsv2", clipscore: "clip-score" } as const satisfies Record<string, ClipRewardName>)[kase.kind as "pickscore" | "hpsv2" | "clipscore"];
  const pictures = picturesOf(kase);
  checkPairs(kase, pairs, prompts.length, pictures.length);
  const clip = await openClipNetwork(await findCheckpoint(kase.directory), clipKinds[name].activation);
  const { positions, vocabulary } = clip.config.text;
  const tokenizer = await openRewardTokenizer(clipKinds[name].tokenizer, clip.folder);
  const own = idsOf(tokenizer, prompts, positions);
  // The recorded ids go on where there are some, so that a tokenizer and a network can be wrong one at a time.
  const ids = kase.inputs.has("input_ids") ? tokenIdsOf(kase, "input_ids", [prompts.length, "L"], vocabulary) : own;
  checkTokenIds(ids.data, vocabulary, `tokenizer of ${clip.path}`);
  const preprocessing = await clipKindPreprocessing(name, clip);
  const pixels = pixelsOf(kase, pictures, preprocessing);
  const features = await featuresOf(clip, pixels, ids, backend);
  const pair: PairScore = {
    preprocessing,
    texts: { text_features: asInput(features.text_features) },
    score: (values, texts) => {
      const scope = clip.scope();
      return clipKinds[name].score(cosine(clipImageEmbedding(scope, clip.config, values), texts["text_features"]!), () => clipLogitScale(scope, clip.config));
    },
  };
  const cosines = input("cos", features.cos.shape);
  const { score } = Object.fromEntries(await runOnce({ score: clipKinds[name].score(cosines, () => clipLogitScale(clip.scope(), clip.config)) }, new Map([["cos", asInput(features.cos)]]), backend));
  const { scores, gradient } = await pixelGradients(pair, pixels, pairs, backend);
  const results = new Map<string, ReplayedTensor>([
    ["input_ids", own],
    ["pixel_values", libraryPixels(pictures, preprocessing)],
    ...Object.entries(features),
    ["score", score!],
    ["pair_score", scores],
    ["grad_pixel_values", gradient],
    ...(await firstHiddenStates(clip, pixels, ids, backend)),
    ...(await floatPaths(pair, pictures, pairs, "score", "clamped_score", backend)),
  ]);
  if (name === "hpsv2") {
    const plain = libraryPixels(pictures, longerSidePad(preprocessing.size, false));
    results.set("plain.pixel_values", plain);
    results.set("plain.cos", (await featuresOf(clip, plain, ids, backend)).cos);
  }
  const transformers = join(kase.directory, "hf");
  if (name === "clip-score" && (await stat(transformers).catch(() => undefined))?.isDirectory() === true) {
    const hf = await openClipNetwork(transformers);
    const hfTokenizer = await openRewardTokenizer("hf_fast", hf.folder);
    const hfPixels = libraryPixels(pictures, await clipKindPreprocessing("clip-score-100", hf));
    const hfIds = idsOf(hfTokenizer, prompts, positions);
    results.set("hf.pixel_values", hfPixels);
    results.set("hf.input_ids", hfIds);
    results.set("hf.cos", (await featuresOf(hf, hfPixels, hfIds, backend)).cos);
    const captions = pairs.map(([prompt]) => prompts[prompt]!);
    const paired = rowsOf(hfPixels, pairs.map(([, picture]) => picture));
    for (const [key, value] of await torchmetricsScores(hf, hfTokenizer, paired, captions, backend)) results.set(key, value);
  }
  return results;
}

const aestheticFields = z.object({ tower: z.string(), images: z.string().optional() });

/** Replays a case of kind `aesthetic`: a head on the CLIP of a neighbouring case. @throws UsageError whatever its files give reason to */
export async function replayAesthetic(kase: CaseFile, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const { tower, images } = fieldsOf(kase, aestheticFields);
  const clip = await openClipNetwork(await findCheckpoint(join(kase.directory, tower)));
  const inputs = kase.inputs.has("image.0") ? kase.inputs : await readCaseTensors(join(kase.directory, images ?? join(tower, "inputs.safetensors")));
  const pictures = picturesOf({ directory: kase.directory, inputs });
  const preprocessing = await clipKindPreprocessing("clip-score", clip);
  const pixels = pixelsOf(kase, pictures, preprocessing);
  const { weights } = await openRewardFile(await findCheckpoint(kase.directory));
  const head = openAffineHead(weights);

  const leaf = input("pixels", pixels.shape);
  const embedding = clipImageEmbedding(clip.scope(), clip.config, leaf);
  const score = head.apply(unitRows(embedding));
  const [grad_pixel_values, grad_embedding] = gradients(sum(score), [leaf, embedding]) as [Tensor, Tensor];
  const results = await runOnce({ embedding, score, grad_embedding, grad_pixel_values }, new Map([["pixels", pixels]]), backend);

  // The composed affine map, read off its values at zero and at the unit vectors.
  const { width } = head;
  const eye = Float64Array.from({ length: width * width }, (_, i) => (i % (width + 1) === 0 ? 1 : 0));
  const probes = new Map<string, CaseTensor>([["zero", real([1, width], new Float64Array(width))], ["eye", real([width, width], eye)]]);
  const zero = input("zero", [1, width]);
  const map = await runOnce({ bias: head.apply(zero), units: head.apply(input("eye", [width, width])), score_of_zero_embedding: reshape(head.apply(unitRows(zero)), []) }, probes, backend);
  const bias = map.get("bias")!.data[0]!;
  results.set("affine_bias", real([], [bias]));
  results.set("affine_weight", real([width], Float64Array.from(map.get("units")!.data as ArrayLike<number>, (value) => value - bias)));
  results.set("score_of_zero_embedding", map.get("score_of_zero_embedding")!);
  return results;
}
