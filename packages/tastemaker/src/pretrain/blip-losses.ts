import { blipImageEmbedding, blipImageTokens, blipJointClass, blipMatchLogits, type BlipConfig, blipTemperature, blipTextClass, blipTextEmbedding, normalizePixels, type Scope, unitRows } from "@tastemaker/diffusion";
import { add, argMax, cast, clamp, concat, constant, div, less, log, logSumExp, matmul, mean, mul, softmax, stopGradient, sub, sum, take, type Tensor } from "@tastemaker/tensor";

/** BLIP's bounds of the temperature, but for the lower one, which is CLIP's (a factor of 100). */
const temperatureBounds = [0.01, 0.5] as const;

/** A batch as the losses read it. */
export interface BlipBatch {
  /** `[B, 3, S, S]` in [0, 1]. */
  readonly image: Tensor;
  /** `[B, L]`, int32. */
  readonly ids: Tensor;
  readonly mask: Tensor;
  /** `[B, B]`: 1 where two captions are equal, else 0. */
  readonly same: Tensor;
  /** Gumbel noise `[B, B]` that draws a wrong text for each picture, and a wrong picture for each text. */
  readonly noise: readonly [text: Tensor, picture: Tensor];
}

export interface BlipLosses {
  readonly contrastive: Tensor;
  readonly matching: Tensor;
  readonly temperature: Tensor;
}

/** Mean cross entropy along an axis of scores whose `targets` sum to 1 along it. */
const crossEntropy = (scores: Tensor, targets: Tensor, axis: number): Tensor => mean(sub(logSumExp(scores, axis), sum(mul(scores, targets), axis)));

/**
 * BLIP's two losses on one batch (Li et al. 2022, arXiv 2201.12086, and its repository, `models/blip_retrieval.py`).
 *
 * Contrastive: cross entropy of cosine / temperature between all texts and all pictures of the batch, both ways; pictures with equal captions share the target. Matching: two-way
 * cross entropy of the text that looks at the picture, for each pair, for each text with a wrong picture, and for each picture with a wrong text. Wrong ones have another caption; half
 * of them are drawn from the batch with probability softmax(similarity), so that confusable ones come more often, and half evenly (Gumbel-max: the draw is part of the program).
 *
 * Differs from the publication: it draws all wrong ones by similarity (+ 10⁻⁴), which suits encoders that were trained before. From nothing, where the batch holds very similar pictures,
 * the matching head then does not begin to learn (measured: right .53 of the time after 20 000 pictures, chance .5). No momentum encoders and queues, which stand in for large batches of
 * 300 million parameters; the joint text begins with [CLS], as BLIP's scores and ImageReward read it, not with [ENC]; no captioning loss, whose decoder no score uses.
 */
export function blipLosses(scope: Scope, config: BlipConfig, { image, ids, mask, same, noise }: BlipBatch): BlipLosses {
  const count = image.shape[0]!;
  const tokens = blipImageTokens(scope, config, normalizePixels(image));
  const pictures = unitRows(blipImageEmbedding(scope, config, tokens));
  const texts = unitRows(blipTextEmbedding(scope, config, blipTextClass(scope, config, ids, mask)));
  const temperature = clamp(blipTemperature(scope), ...temperatureBounds);
  // Rows are texts, columns are pictures.
  const scores = div(matmul(texts, pictures, { transposeB: true }), temperature);
  const targets = div(same, sum(same, 1, true));
  const contrastive = mul(0.5, add(crossEntropy(scores, targets, 0), crossEntropy(scores, targets, 1)));

  const fixed = stopGradient(scores);
  const excluded = mul(same, -1e6);
  const draw = (axis: 0 | 1): Tensor => {
    const hard = softmax(add(fixed, excluded), axis);
    return argMax(add(add(log(add(hard, 1 / count)), excluded), noise[axis]), axis);
  };
  const [wrongText, wrongPicture] = [draw(0), draw(1)];
  const joint = blipJointClass(
    scope,
    config,
    concat([ids, ids, take(ids, wrongText)], 0),
    concat([mask, mask, take(mask, wrongText)], 0),
    concat([tokens, take(tokens, wrongPicture), tokens], 0),
  );
  const logits = blipMatchLogits(scope, joint);
  const isPair = Array.from({ length: 3 * count }, (_, row) => row < count);
  const right = constant(isPair.flatMap((yes) => (yes ? [0, 1] : [1, 0])), [3 * count, 2]);
  // Nothing is wrong for a caption that the whole batch has.
  const hasWrong = cast(less(sum(same, 1), count), "float32");
  const weights = concat([mul(hasWrong, 0), hasWrong, hasWrong], 0);
  const counted = add(weights, constant(isPair.map(Number), [3 * count]));
  const each = sub(logSumExp(logits, 1), sum(mul(logits, right), 1));
  return { contrastive, matching: div(sum(mul(each, counted)), sum(counted)), temperature };
}
