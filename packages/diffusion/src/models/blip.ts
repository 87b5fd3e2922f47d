import { input, type Tensor, UsageError, weight } from "@tastemaker/tensor";

import type { Checkpoint } from "../files/weights.ts";
import type { BlipConfig } from "./blip-config.ts";
import { type BlipTextConfig, blipText } from "./blip-text.ts";
import { type BlipVisionConfig, blipVision } from "./blip-vision.ts";
import { linear } from "./layers.ts";
import { collectParameters, type Parameter, type Scope, scopeOf } from "./scope.ts";
import { firstToken } from "./transformer-block.ts";

/** What the weights of a BLIP do not tell. */
export interface BlipChoices {
  /** Attention heads; default: 64 numbers per head, as published. */
  readonly visionHeads?: number;
  readonly textHeads?: number;
  /** Of the layer norms; default 1e-6. */
  readonly visionEps?: number;
  /** Default 1e-12. */
  readonly textEps?: number;
  /** Side of the input; default 224 for patches of 16 pixels, else what the position table is made for. */
  readonly imageSize?: number;
}

/** The picture and text towers of BLIP as its scores use them. */
export interface Blip extends BlipConfig {
  /** Frozen weights under BLIP's names (`visual_encoder.*`, `text_encoder.*`, `vision_proj`, `text_proj`, `itm_head`), mapped in place. */
  scope(): Scope;
}

/** Training state: momentum copies, queues, the captioning decoder, constant buffers. */
const ignored = /^(?:\w+_m\.|image_queue$|text_queue$|queue_ptr$|ptr_queue$|idx_queue$|temp$|text_decoder\.)|(?:^|\.)position_ids$/;

/** Patches on a side; the published models have at most 30. Attention grows with the fourth power. */
const largestGrid = 64;

/**
 * Reads BLIP's architecture off the shapes of its weights.
 *
 * @param weights BLIP's names, without a prefix.
 * @throws UsageError `weight-missing`, `blip-heads`, `blip-size`, `position-table`
 */
export function openBlip(given: Checkpoint, choices: BlipChoices = {}): Blip {
  const weights = given.renamed((key) => (ignored.test(key) ? undefined : key));
  const { where } = weights;
  const shape = (key: string, length: number): readonly number[] => {
    const found = weights.shapeOf(key);
    if (found?.length === length) return found;
    throw new UsageError("weight-missing", `weight ${key}: expected a tensor with ${length} axes, got ${found === undefined ? "none" : `[${found.join(", ")}]`} (at ${where})`, "the file is no BLIP");
  };
  const layers = (prefix: string): number => new Set(weights.keys().flatMap((key) => (key.startsWith(prefix) ? [key.slice(prefix.length).split(".")[0]] : []))).size;
  const headsOf = (width: number, given: number | undefined): number => {
    const heads = given ?? width / 64;
    if (Number.isInteger(heads) && width % heads === 0) return heads;
    throw new UsageError("blip-heads", `BLIP: expected a number of heads that divides the width ${width}, got ${heads} (at ${where})`, 'put a config.json beside the file: {"vision": {"heads": N}, "text": {"heads": N}}');
  };
  const [width, , patchSize] = shape("visual_encoder.patch_embed.proj.weight", 4) as readonly [number, number, number, number];
  const storedRows = shape("visual_encoder.pos_embed", 3)[1]! - 1;
  const storedGrid = Math.round(Math.sqrt(storedRows));
  if (storedGrid < 1 || storedGrid ** 2 !== storedRows) {
    throw new UsageError("position-table", `position table: expected 1 + g² rows, got ${storedRows + 1} (at visual_encoder.pos_embed of ${where})`, "the file is no BLIP");
  }
  const imageSize = choices.imageSize ?? (patchSize === 16 ? 224 : storedGrid * patchSize);
  const grid = Math.floor(imageSize / patchSize);
  if (!(grid >= 1 && grid <= Math.max(largestGrid, storedGrid))) {
    throw new UsageError("blip-size", `BLIP: expected pictures of ${patchSize} to ${patchSize * (Math.max(largestGrid, storedGrid) + 1) - 1} pixels (patches of ${patchSize}), got ${imageSize} (at ${where})`, "vision.image_size of the config.json beside the file belongs to another model");
  }
  const vision: BlipVisionConfig = {
    width,
    inner: shape("visual_encoder.blocks.0.mlp.fc1.weight", 2)[0]!,
    layers: layers("visual_encoder.blocks."),
    heads: headsOf(width, choices.visionHeads),
    patchSize,
    imageSize,
    storedGrid,
    eps: choices.visionEps ?? 1e-6,
  };
  const [vocabulary, textWidth] = shape("text_encoder.embeddings.word_embeddings.weight", 2) as readonly [number, number];
  const text: BlipTextConfig = {
    width: textWidth,
    inner: shape("text_encoder.encoder.layer.0.intermediate.dense.weight", 2)[0]!,
    layers: layers("text_encoder.encoder.layer."),
    heads: headsOf(textWidth, choices.textHeads),
    vocabulary,
    positions: shape("text_encoder.embeddings.position_embeddings.weight", 2)[0]!,
    eps: choices.textEps ?? 1e-12,
  };
  return { vision, text, projection: weights.shapeOf("vision_proj.weight")?.[0], scope: () => scopeOf((key, wanted) => weight(weights.take(key, wanted))) };
}

function projectionOf({ projection }: BlipConfig): number {
  if (projection === undefined) throw new UsageError("weight-missing", "weight vision_proj.weight: expected the projections of BLIP's contrastive score, got none", "use the pre-trained model_large.pth, or the itm-retrieval models");
  return projection;
}

/** Tokens of pictures `[B, T, V]`, class token first. */
export function blipImageTokens(scope: Scope, { vision }: BlipConfig, pixels: Tensor): Tensor {
  return blipVision(scope.at("visual_encoder"), vision, pixels);
}

/** Pictures in the common space `[B, E]`, before normalisation. @param tokens From `blipImageTokens`. */
export function blipImageEmbedding(scope: Scope, blip: BlipConfig, tokens: Tensor): Tensor {
  return linear(scope.at("vision_proj"), firstToken(tokens), projectionOf(blip));
}

/** The class token of texts that are read alone, `[B, W]`. */
export function blipTextClass(scope: Scope, { text }: BlipConfig, ids: Tensor, mask: Tensor): Tensor {
  return firstToken(blipText(scope.at("text_encoder"), text, ids, mask));
}

/** Texts in the common space `[B, E]`, before normalisation. @param textClass From `blipTextClass`. */
export function blipTextEmbedding(scope: Scope, blip: BlipConfig, textClass: Tensor): Tensor {
  return linear(scope.at("text_proj"), textClass, projectionOf(blip));
}

/** The class token of texts that look at their picture in every layer, `[B, W]`. */
export function blipJointClass(scope: Scope, { text }: BlipConfig, ids: Tensor, mask: Tensor, tokens: Tensor): Tensor {
  return firstToken(blipText(scope.at("text_encoder"), text, ids, mask, tokens));
}

/** Whether text and picture belong together, from the class token of a text that looked at its picture: logits `[B, 2]`, no and yes. @param jointClass From `blipJointClass`. */
export function blipMatchLogits(scope: Scope, jointClass: Tensor): Tensor {
  return linear(scope.at("itm_head"), jointClass, 2);
}

/** Temperature of the contrastive loss, by which cosines are divided: a scalar that training learns and scores do not use. 0.07 at first, as published. */
export function blipTemperature(scope: Scope): Tensor {
  return scope.get("temp", [], { kind: "constant", value: 0.07 });
}

/** Every parameter that BLIP's contrastive and matching losses train. */
export function blipParameters(config: BlipConfig): Parameter[] {
  const { imageSize } = config.vision;
  return collectParameters((scope) => {
    const tokens = blipImageTokens(scope, config, input("image", [1, 3, imageSize, imageSize]));
    const [ids, mask] = [input("input_ids", [1, 2], "int32"), input("attention_mask", [1, 2], "int32")];
    blipImageEmbedding(scope, config, tokens);
    blipTextEmbedding(scope, config, blipTextClass(scope, config, ids, mask));
    blipMatchLogits(scope, blipJointClass(scope, config, ids, mask, tokens));
    blipTemperature(scope);
  });
}
