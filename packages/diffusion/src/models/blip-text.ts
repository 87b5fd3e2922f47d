import { add, cast, gelu, matmul, mul, reshape, sliceAxis, softmax, sub, take, type Tensor, transpose, UsageError } from "@tastemaker/tensor";

import { layerNormalization, linear } from "./layers.ts";
import type { InitialValue, Scope } from "./scope.ts";

/** BERT's start of its tables. */
const small: InitialValue = { kind: "normal", std: 0.02 };

/** The BERT of BLIP and ImageReward: word and position embeddings (no token types), post-norm layers, cross-attention to a picture's tokens where there is one. */
export interface BlipTextConfig {
  readonly width: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocabulary: number;
  readonly positions: number;
  /** 1e-12 in the published models. */
  readonly eps: number;
}

/** Query, key and value layers (`self.*`), attention, then output layer, residual and norm (`output.*`). `bias` is added to the scores. */
function attend(scope: Scope, { width, heads, eps }: BlipTextConfig, x: Tensor, memory: Tensor, bias: Tensor | undefined): Tensor {
  const [batch, length] = x.shape as readonly [number, number, number];
  const size = width / heads;
  const own = scope.at("self");
  const perHead = (name: string, tokens: Tensor): Tensor => transpose(reshape(linear(own.at(name), tokens, width), [batch, tokens.shape[1]!, heads, size]), [0, 2, 1, 3]);
  const scores = matmul(perHead("query", x), perHead("key", memory), { transposeB: true, alpha: size ** -0.5 });
  const mixed = matmul(softmax(bias === undefined ? scores : add(scores, bias)), perHead("value", memory));
  const joined = reshape(transpose(mixed, [0, 2, 1, 3]), [batch, length, width]);
  return layerNormalization(scope.at("output.LayerNorm"), add(linear(scope.at("output.dense"), joined, width), x), eps);
}

/**
 * Hidden states of all tokens.
 *
 * @param ids Token ids `[B, L]`, int32. @param mask `[B, L]`, int32: 1 for tokens, 0 for padding; padding gets −10000 on its scores.
 * @param picture Tokens `[B, T, V]` of a picture that every layer attends to after itself; undefined reads the text alone.
 * @returns `[B, L, W]`
 * @throws UsageError `text-length`
 */
export function blipText(scope: Scope, config: BlipTextConfig, ids: Tensor, mask: Tensor, picture?: Tensor): Tensor {
  const { width, inner, layers, vocabulary, positions, eps } = config;
  const [batch, length] = ids.shape as readonly [number, number];
  if (length > positions) throw new UsageError("text-length", `input_ids: expected at most ${positions} tokens, got ${length} (at text_encoder)`, "cut the sequence to the model's length");
  const embeddings = scope.at("embeddings");
  const words = take(embeddings.at("word_embeddings").get("weight", [vocabulary, width], small), ids);
  const table = embeddings.at("position_embeddings").get("weight", [positions, width], small);
  let x = scope.report(layerNormalization(embeddings.at("LayerNorm"), add(words, sliceAxis(table, 0, 0, length)), eps));
  const bias = mul(sub(1, reshape(cast(mask, "float32"), [batch, 1, 1, length])), -10000);
  for (let i = 0; i < layers; i++) {
    const layer = scope.at(`encoder.layer.${i}`);
    x = attend(layer.at("attention"), config, x, x, bias);
    if (picture !== undefined) x = attend(layer.at("crossattention"), config, x, picture, undefined);
    const wide = gelu(linear(layer.at("intermediate.dense"), x, inner));
    x = layer.report(layerNormalization(layer.at("output.LayerNorm"), add(linear(layer.at("output.dense"), wide, width), x), eps));
  }
  return x;
}
