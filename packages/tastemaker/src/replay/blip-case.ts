import { join } from "node:path";
import { blipImageEmbedding, blipImageTokens, blipJointClass, blipMatchLogits, blipText, blipTextClass, blipTextEmbedding, checkTokenIds, cosine, observed, resampledPositions, type Scope, shorterSideCrop, unitRows } from "@tastemaker/diffusion";
import { type Backend, div, gradients, input, matmul, reshape, sliceAxis, softmax, sub, sum, type Tensor } from "@tastemaker/tensor";
import { z } from "zod";

import { blipTextLength, imageRewardStatistics, openBlipFiles } from "../rewards/blip-reward.ts";
import { openRewardTokenizer } from "../rewards/reward-tokenizer.ts";
import { type CaseFile, type CaseTensor, caseError, fieldsOf, inputOf, type ReplayedTensor, tokenIdsOf } from "./case-file.ts";
import { asInput, checkpointNames, checkPairs, floatPaths, libraryPixels, pixelsOf, type PairScore, picturesOf, pixelGradients, real, rewardCaseFields, rowsOf, whole } from "./reward-case.ts";
import { runOnce } from "./run-once.ts";

const blipFields = z.object({ ...rewardCaseFields, enc_token_id: z.int().min(0).optional(), dec_token_id: z.int().min(0).optional(), max_length: z.int().min(2).default(blipTextLength) });

/** Sides of the grids for which the position table is resampled, to compare. */
const grids: readonly number[] = Array.from({ length: 16 }, (_, i) => i + 1);

async function checkpointOf(directory: string): Promise<string> {
  const [found] = await checkpointNames(directory);
  if (found === undefined) throw caseError({ directory }, "a .pt, .pth or .safetensors file", "none");
  return join(directory, found);
}

function hiddenStates(scope: Scope, tower: "visual_encoder" | "text_encoder", name: string, run: (scope: Scope) => void): Record<string, Tensor> {
  const states: Record<string, Tensor> = {};
  run(
    observed(scope, (path, value) => {
      if (path === tower) states[`${name}.0`] = value;
      const layer = new RegExp(`^${tower}\\.(?:blocks|encoder\\.layer)\\.(\\d+)$`).exec(path);
      if (layer !== null) states[`${name}.${Number(layer[1]) + 1}`] = value;
    }),
  );
  return states;
}

/** Replays a case of kind `blip` or `imagereward`. @throws UsageError whatever its files give reason to */
export async function replayBlip(kase: CaseFile, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const { prompts, pairs, enc_token_id: encId, max_length: length } = fieldsOf(kase, blipFields);
  const pictures = picturesOf(kase);
  checkPairs(kase, pairs, prompts.length, pictures.length);
  const { blip, head, folder } = await openBlipFiles(await checkpointOf(kase.directory));
  const tokenizer = await openRewardTokenizer("bert", folder);
  const { positions, vocabulary } = blip.text;
  if (length > positions) throw caseError(kase, `a max_length of at most ${positions}, the text tower's positions`, String(length));
  const encoded = tokenizer.encode(prompts, length);
  const own = { ids: whole(encoded.shape, encoded.ids), mask: whole(encoded.shape, encoded.mask) };
  const hasIds = kase.inputs.has("input_ids");
  const ids = hasIds ? tokenIdsOf(kase, "input_ids", [prompts.length, "L"], vocabulary) : own.ids;
  checkTokenIds([...ids.data, ...(encId === undefined ? [] : [encId])], vocabulary, `${hasIds ? "input_ids" : "tokenizer"} and enc_token_id of ${kase.directory}`);
  const mask = hasIds ? inputOf(kase, "attention_mask", ids.shape) : own.mask;
  const preprocessing = shorterSideCrop(blip.vision.imageSize, "half-even");
  const pixels = pixelsOf(kase, pictures, preprocessing);
  const results = new Map<string, ReplayedTensor>([["input_ids", own.ids], ["attention_mask", own.mask], ["pixel_values", libraryPixels(pictures, preprocessing)]]);
  const add = (found: ReadonlyMap<string, ReplayedTensor>): void => {
    for (const [key, value] of found) results.set(key, value);
  };

  const first = new Map<string, CaseTensor>([["pixels", rowsOf(pixels, [0])], ["ids", rowsOf(ids, [0])], ["mask", rowsOf(mask, [0])]]);
  const leaves = (inputs: ReadonlyMap<string, CaseTensor>): { image: Tensor; text: Tensor; seen: Tensor } => ({
    image: input("pixels", inputs.get("pixels")!.shape),
    text: input("ids", inputs.get("ids")!.shape, "int32"),
    seen: input("mask", inputs.get("mask")!.shape, "int32"),
  });
  const one = leaves(first);
  // ImageReward's text tower always looks at a picture.
  const seenTokens = head === undefined ? undefined : blipImageTokens(blip.scope(), blip, one.image);
  add(
    await runOnce(
      {
        image_tokens: blipImageTokens(blip.scope(), blip, one.image),
        ...hiddenStates(blip.scope(), "visual_encoder", "vision_hidden", (scope) => blipImageTokens(scope, blip, one.image)),
        ...hiddenStates(blip.scope(), "text_encoder", "text_hidden", (scope) => blipText(scope.at("text_encoder"), blip.text, one.text, one.seen, seenTokens)),
      },
      first,
      backend,
    ),
  );

  /** The joint class token of every picture with one row of text each. */
  const joint = (scope: Scope, image: Tensor, texts: Readonly<Record<string, Tensor>>): Tensor => blipJointClass(scope, blip, texts["ids"]!, texts["mask"]!, blipImageTokens(scope, blip, image));
  const pairedPrompts = pairs.map(([prompt]) => prompt);

  if (head !== undefined) {
    const { mean, std } = imageRewardStatistics;
    const rawOf = (cls: Tensor): Tensor => head.apply(cls);
    const count = pictures.length;
    const width = blip.text.width;
    const raw = new Float64Array(prompts.length * count);
    const cls = new Float64Array(prompts.length * count * width);
    for (const prompt of prompts.keys()) {
      const rows = Array.from({ length: count }, () => prompt);
      const inputs = new Map([["pixels", pixels], ["ids", rowsOf(ids, rows)], ["mask", rowsOf(mask, rows)]]);
      const { image, text, seen } = leaves(inputs);
      const token = joint(blip.scope(), image, { ids: text, mask: seen });
      const found = await runOnce({ token, raw: rawOf(token) }, inputs, backend);
      raw.set(found.get("raw")!.data, prompt * count);
      cls.set(found.get("token")!.data, prompt * count * width);
    }
    results.set("raw", real([prompts.length, count], raw));
    results.set("score", real([prompts.length, count], raw.map((value) => (value - mean) / std)));
    results.set("text_cls", real([prompts.length, count, width], cls));
    const pair: PairScore = { preprocessing, texts: { ids, mask }, score: (image, texts) => div(sub(rawOf(joint(blip.scope(), image, texts)), mean), std) };
    const { scores, gradient } = await pixelGradients(pair, pixels, pairs, backend);
    results.set("pair_score", scores);
    results.set("pair_raw", real(scores.shape, Float64Array.from(scores.data as ArrayLike<number>, (value) => value * std + mean)));
    results.set("grad_pixel_values", gradient);
    add(await floatPaths(pair, pictures, pairs, "score", undefined, backend));
    return results;
  }

  const all = new Map<string, CaseTensor>([["pixels", pixels], ["ids", ids], ["mask", mask]]);
  const { image, text, seen } = leaves(all);
  const scope = blip.scope();
  const image_features = blipImageEmbedding(scope, blip, blipImageTokens(scope, blip, image));
  const text_hidden_cls = blipTextClass(scope, blip, text, seen);
  const text_features = blipTextEmbedding(scope, blip, text_hidden_cls);
  const cos = matmul(unitRows(text_features), unitRows(image_features), { transposeB: true });
  add(await runOnce({ image_features, text_hidden_cls, text_features, cos }, all, backend));

  const itc: PairScore = {
    preprocessing,
    texts: { text_features: asInput(results.get("text_features")!) },
    score: (values, texts) => {
      const own = blip.scope();
      return cosine(blipImageEmbedding(own, blip, blipImageTokens(own, blip, values)), texts["text_features"]!);
    },
  };
  const contrast = await pixelGradients(itc, pixels, pairs, backend);
  results.set("pair_cos", contrast.scores);
  results.set("grad_pixel_values", contrast.gradient);
  add(await floatPaths(itc, pictures, pairs, "cos", undefined, backend));

  // Image-text matching: the text looks at the picture; two logits.
  const matching = new Map([["pixels", rowsOf(pixels, pairs.map(([, picture]) => picture))], ["ids", rowsOf(ids, pairedPrompts)], ["mask", rowsOf(mask, pairedPrompts)]]);
  const pairLeaves = leaves(matching);
  const itm = (texts: Tensor): { cls: Tensor; logits: Tensor } => {
    const own = blip.scope();
    const cls = joint(own, pairLeaves.image, { ids: texts, mask: pairLeaves.seen });
    return { cls, logits: blipMatchLogits(own, cls) };
  };
  const { cls, logits } = itm(pairLeaves.text);
  const second = (values: Tensor): Tensor => reshape(sliceAxis(values, 1, 1, 2), [pairs.length]);
  const difference = sub(second(logits), reshape(sliceAxis(logits, 1, 0, 1), [pairs.length]));
  add(await runOnce({ itm_cls: cls, itm_logits: logits, itm_probability: second(softmax(logits)), itm_grad_pixel_values: gradients(sum(difference), [pairLeaves.image])[0]! }, matching, backend));
  if (encId !== undefined) {
    const rows = matching.get("ids")!;
    const swapped = { ...rows, data: rows.data.map((id, i) => (i % rows.shape[1]! === 0 ? encId : id)) };
    add(await runOnce({ itm_logits_with_enc_token: itm(pairLeaves.text).logits }, new Map([...matching, ["ids", swapped]]), backend));
  }
  const stored = blip.scope().at("visual_encoder").get("pos_embed", [1, 1 + blip.vision.storedGrid ** 2, blip.vision.width]);
  add(await runOnce(Object.fromEntries(grids.map((grid) => [`pos_embed_resampled.${grid}`, resampledPositions(stored, grid)])), new Map(), backend));
  return results;
}
