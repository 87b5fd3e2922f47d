import { add, attention, concat, expand, gelu, matmul, reshape, sliceAxis, split, type Tensor, UsageError } from "@tastemaker/tensor";

import { matrixConstant, plainCubicMatrix } from "../images/resize-matrix.ts";
import { convolution, layerNormalization, linear } from "./layers.ts";
import type { InitialValue, Scope } from "./scope.ts";
import { toTokens } from "./transformer-block.ts";

/** timm's start of class token and positions. */
const small: InitialValue = { kind: "normal", std: 0.02 };

/** The vision transformer of BLIP and ImageReward. */
export interface BlipVisionConfig {
  readonly width: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly patchSize: number;
  readonly imageSize: number;
  /** Patches per side that the stored position table is made for. */
  readonly storedGrid: number;
  /** 1e-6 in the published models. */
  readonly eps: number;
}

/**
 * A position table `[1, 1 + g², W]` for a grid of `to` × `to` patches: bicubic (a = −¾, not antialiased), the class token's row kept; as BLIP's `interpolate_pos_embed`.
 */
export function resampledPositions(table: Tensor, to: number): Tensor {
  const [, rows, width] = table.shape as readonly [number, number, number];
  const from = Math.round(Math.sqrt(rows - 1));
  if (from * from !== rows - 1) throw new UsageError("position-table", `position table: expected 1 + g² rows, got ${rows} (at pos_embed)`);
  if (from === to) return table;
  const matrix = matrixConstant(plainCubicMatrix(from, to));
  const tall = matmul(matrix, reshape(sliceAxis(table, 1, 1, rows), [from, from * width]));
  const wide = matmul(matrix, reshape(tall, [to, from, width]));
  return concat([sliceAxis(table, 1, 0, 1), reshape(wide, [1, to * to, width])], 1);
}

/**
 * BLIP's ViT: patches with bias, class token, pre-norm blocks with a fused query-key-value layer, final norm on all tokens.
 *
 * @param pixels Normalised pixel values `[B, 3, imageSize, imageSize]`.
 * @returns `[B, 1 + patches, W]`, class token first
 * @throws UsageError `image-size` for another size
 */
export function blipVision(scope: Scope, config: BlipVisionConfig, pixels: Tensor): Tensor {
  const { width, inner, layers, heads, patchSize, imageSize, storedGrid, eps } = config;
  const batch = pixels.shape[0]!;
  if (pixels.shape[2] !== imageSize || pixels.shape[3] !== imageSize) {
    throw new UsageError("image-size", `pixel_values: expected [B, 3, ${imageSize}, ${imageSize}], got [${pixels.shape.join(", ")}] (at visual_encoder)`, "resize and crop the picture first");
  }
  const patches = toTokens(convolution(scope.at("patch_embed.proj"), pixels, width, { kernel: patchSize, stride: patchSize }));
  const token = expand(scope.get("cls_token", [1, 1, width], small), [batch, 1, width]);
  const table = scope.get("pos_embed", [1, 1 + storedGrid * storedGrid, width], small);
  let x = scope.report(add(concat([token, patches], 1), resampledPositions(table, Math.floor(imageSize / patchSize))));
  for (let i = 0; i < layers; i++) {
    const block = scope.at(`blocks.${i}`);
    const fused = linear(block.at("attn.qkv"), layerNormalization(block.at("norm1"), x, eps), 3 * width);
    const [q, k, v] = split(fused, 2, 3) as [Tensor, Tensor, Tensor];
    x = add(x, linear(block.at("attn.proj"), attention(q, k, v, { heads }), width));
    const wide = gelu(linear(block.at("mlp.fc1"), layerNormalization(block.at("norm2"), x, eps), inner));
    x = block.report(add(x, linear(block.at("mlp.fc2"), wide, width)));
  }
  return layerNormalization(scope.at("norm"), x, eps);
}
