import { type Tensor, UsageError, add, argMax, cast, equal, input, matmul, oneHot, reshape, sliceAxis, take } from "@tastemaker/tensor";

import { type ClipTowerConfig, clipEncoder, readClipTower } from "./clip-encoder.ts";
import { type ConfigJson, ConfigReader } from "./config-reader.ts";
import { layerNormalization } from "./layers.ts";
import { type Parameter, type Scope, collectParameters } from "./scope.ts";

/** A transformers `CLIPTextModel` configuration (or the `text_config` of a `CLIPModel`). */
export interface ClipTextConfig extends ClipTowerConfig {
  readonly vocabulary: number;
  /** Longest token sequence. */
  readonly positions: number;
  /** 2 is the old habit: pool at the largest id. Otherwise pool at the first position of this id. */
  readonly eosTokenId: number;
}

/**
 * Reads a text encoder's `config.json`, with transformers' defaults for absent keys. Keys that do not change the computation are many and
 * differ between library versions, so unknown ones are accepted here.
 *
 * @throws UsageError `model-config` or `unknown-name`, naming the key.
 */
export function parseClipTextConfig(json: ConfigJson): ClipTextConfig {
  const read = new ConfigReader("CLIPTextModel", json);
  return {
    ...readClipTower(read, "CLIPTextModel", { width: 512, inner: 2048, heads: 8 }),
    vocabulary: read.count("vocab_size", 49408),
    positions: read.count("max_position_embeddings", 77),
    eosTokenId: read.index("eos_token_id", 49407),
  };
}

/**
 * Refuses token ids that the embedding table has no row for; a lookup would wrap around or read beyond it.
 *
 * @param where What to name in the message: a file, or the tokenizer's folder.
 * @throws UsageError `token-id`
 */
export function checkTokenIds(ids: ArrayLike<number>, vocabulary: number, where: string): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (id >= 0 && id < vocabulary) continue;
    throw new UsageError("token-id", `token ids: expected 0 to ${vocabulary - 1}, got ${id} (at ${where})`, "tokenizer and text encoder belong to different models");
  }
}

export interface ClipTextOutput {
  /** Last hidden state after the final norm, `[B, L, width]`. */
  readonly hidden: Tensor;
  /** The hidden state of the end-of-text token, `[B, width]`, before any projection. */
  readonly pooled: Tensor;
}

const EMBEDDING = { kind: "normal", std: 0.02 } as const;

/**
 * CLIP's text transformer: causal mask, no padding mask.
 *
 * @param ids Token ids `[B, L]`, int32.
 * @throws UsageError `text-length` when the sequence is longer than the position table.
 */
export function clipText(scope: Scope, config: ClipTextConfig, ids: Tensor): ClipTextOutput {
  const [batch, length] = ids.shape as readonly [number, number];
  const { width, positions } = config;
  if (length > positions) {
    throw new UsageError("text-length", `input_ids: expected at most ${positions} tokens, got ${length} (at text encoder)`, "cut the sequence to the model's length");
  }
  const embeddings = scope.at("embeddings");
  const words = take(embeddings.at("token_embedding").get("weight", [config.vocabulary, width], EMBEDDING), ids);
  const table = embeddings.at("position_embedding").get("weight", [positions, width], EMBEDDING);
  const start = embeddings.report(add(words, length === positions ? table : sliceAxis(table, 0, 0, length)));
  const hidden = layerNormalization(scope.at("final_layer_norm"), clipEncoder(scope.at("encoder"), config, start, true), config.eps);

  const end = config.eosTokenId === 2 ? argMax(ids, 1) : argMax(cast(equal(ids, config.eosTokenId), "int32"), 1);
  const pooled = matmul(reshape(oneHot(end, length), [batch, 1, length]), hidden);
  return { hidden, pooled: reshape(pooled, [batch, width]) };
}

/** Every parameter of the text encoder. */
export function clipTextParameters(config: ClipTextConfig): Parameter[] {
  return collectParameters((scope) => {
    clipText(scope, config, input("input_ids", [1, config.positions], "int32"));
  });
}
