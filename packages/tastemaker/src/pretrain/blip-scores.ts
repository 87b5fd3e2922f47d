import { blipImageEmbedding, blipImageTokens, blipJointClass, blipMatchLogits, type BlipConfig, blipTextClass, blipTextEmbedding, normalizePixels, unitRows } from "@tastemaker/diffusion";
import { type Backend, expand, type HostData, input, matmul, type Program, program, sliceAxis, sub, type Tensor } from "@tastemaker/tensor";
import type { CaptionedImages } from "../data/captioned-images.ts";
import type { ParameterSet } from "../train/adamw.ts";
import type { BertCaptions } from "./text-ids.ts";
import { trainableScope } from "./trainable.ts";

/** Pictures that measure a BLIP. */
export interface HeldOutPairs {
  readonly images: CaptionedImages<unknown>;
  /** Whether the caption of one picture is true of another. Default: only where the captions are equal. */
  isTrue?(caption: number, picture: number): boolean;
}

/** Pictures, each with its caption, that search for each other. */
const mostPictures = 256;
/** Captions nearest to a picture in the common space that the matching head puts in order. */
const reranked = 16;

/**
 * Retrieval among held-out pictures, as shares of them: `retrieval` and `retrieval_true` by cosine (the first caption is the picture's own; is true of it), `reranked` and
 * `reranked_true` with the 16 nearest put in order by the matching head, and `matching`: how often that head says yes to the own caption and no to a false one (chance: 0.5).
 */
export async function scoreBlip(config: BlipConfig, average: ParameterSet, { images, isTrue }: HeldOutPairs, texts: BertCaptions, backend: Backend): Promise<Record<string, number>> {
  const count = Math.min(mostPictures, images.size);
  const side = images.imageSize;
  const { pixels, captions } = await images.batch(Array.from({ length: count }, (_, i) => i));
  const isOwn = (caption: number, picture: number): boolean => captions[caption] === captions[picture];
  const isRight = isTrue ?? isOwn;

  const textInputs = (rows: number): [ids: Tensor, mask: Tensor] => [input("ids", [rows, texts.length], "int32"), input("mask", [rows, texts.length], "int32")];
  const parametersOf = ({ inputs }: Program): Record<string, HostData> => Object.fromEntries(inputs.flatMap(({ name }) => (average.has(name) ? [[name, average.get(name)!]] : [])));
  const scope = trainableScope("");
  const pictures = blipImageEmbedding(scope, config, blipImageTokens(scope, config, normalizePixels(input("image", [count, 3, side, side]))));
  const embedded = blipTextEmbedding(scope, config, blipTextClass(scope, config, ...textInputs(count)));
  const alone = program({ cos: matmul(unitRows(pictures), unitRows(embedded), { transposeB: true }) });
  const executable = await backend.compile(alone);
  const { cos } = await executable.run({ ...parametersOf(alone), image: pixels, ...texts.encode(captions) });
  await executable.dispose();

  // Of each picture: the captions nearest to it, its own, and one that is false.
  const kept = Math.min(reranked, count);
  const rows = kept + 2;
  const tokens = blipImageTokens(scope, config, normalizePixels(input("image", [1, 3, side, side])));
  const logits = blipMatchLogits(scope, blipJointClass(scope, config, ...textInputs(rows), expand(tokens, [rows, ...tokens.shape.slice(1)])));
  const together = program({ yes: sub(sliceAxis(logits, 1, 1, 2), sliceAxis(logits, 1, 0, 1)) });
  const matcher = await backend.compile(together);
  const parameters = parametersOf(together);
  const totals = { retrieval: 0, retrieval_true: 0, reranked: 0, reranked_true: 0, matching: 0 };
  for (let picture = 0; picture < count; picture++) {
    const cosines = cos!.data.subarray(picture * count, (picture + 1) * count);
    const order = Array.from(cosines.keys()).sort((a, b) => cosines[b]! - cosines[a]!);
    // Far along the list, so that it is no sibling by chance.
    const wrong = Array.from({ length: count }, (_, i) => (picture + (count >> 1) + i) % count).find((caption) => !isRight(caption, picture)) ?? picture;
    const asked = [...order.slice(0, kept), picture, wrong];
    const each = 3 * side ** 2;
    const { yes } = await matcher.run({ ...parameters, image: pixels.slice(picture * each, (picture + 1) * each), ...texts.encode(asked.map((caption) => captions[caption]!)) });
    const answers = yes!.data;
    let best = 0;
    for (let i = 1; i < kept; i++) if (answers[i]! > answers[best]!) best = i;
    totals.retrieval += Number(isOwn(order[0]!, picture));
    totals.retrieval_true += Number(isRight(order[0]!, picture));
    totals.reranked += Number(isOwn(asked[best]!, picture));
    totals.reranked_true += Number(isRight(asked[best]!, picture));
    totals.matching += (Number(answers[kept]! > 0) + Number(answers[kept + 1]! <= 0)) / 2;
  }
  await matcher.dispose();
  return Object.fromEntries(Object.entries(totals).map(([name, total]) => [name, total / count]));
}
