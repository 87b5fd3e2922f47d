import { type Tensor, UsageError, add, concat, expand, reshape } from "@tastemaker/tensor";

import { type ClipTowerConfig, clipEncoder, readClipTower } from "./clip-encoder.ts";
import { type ConfigJson, ConfigReader } from "./config-reader.ts";
import { convolution, layerNormalization } from "./layers.ts";
import type { Scope } from "./scope.ts";
import { firstToken, toTokens } from "./transformer-block.ts";

/** The `vision_config` of a transformers `CLIPModel`. */
export interface ClipVisionConfig extends ClipTowerConfig {
  readonly imageSize: number;
  readonly patchSize: number;
}

/**
 * Reads a vision configuration, with transformers' defaults for absent keys; keys that do not change the computation are accepted.
 *
 * @throws UsageError `model-config` or `unknown-name`, naming the key.
 */
export function parseClipVisionConfig(json: ConfigJson): ClipVisionConfig {
  const read = new ConfigReader("CLIPVisionModel", json);
  read.mustBe("num_channels", 3);
  return {
    ...readClipTower(read, "CLIPVisionModel", { width: 768, inner: 3072, heads: 12 }),
    imageSize: read.count("image_size", 224),
    patchSize: read.count("patch_size", 32),
  };
}

export interface ClipVisionOutput {
  /** Last hidden state `[B, 1 + patches, width]`, before the final norm. */
  readonly hidden: Tensor;
  /** The class token after the final norm `[B, width]`, before any projection. */
  readonly pooled: Tensor;
}

/**
 * CLIP's vision transformer.
 *
 * @param pixels Normalised pixel values `[B, 3, imageSize, imageSize]`.
 * @throws UsageError `image-size` for another size.
 */
export function clipVision(scope: Scope, config: ClipVisionConfig, pixels: Tensor): ClipVisionOutput {
  const { width, imageSize, patchSize, eps } = config;
  const batch = pixels.shape[0]!;
  if (pixels.shape[2] !== imageSize || pixels.shape[3] !== imageSize) {
    throw new UsageError("image-size", `pixel_values: expected [B, 3, ${imageSize}, ${imageSize}], got [${pixels.shape.join(", ")}] (at vision_model)`, "resize and crop the picture first");
  }
  const embeddings = scope.at("embeddings");
  const grid = Math.floor(imageSize / patchSize);
  const patches = toTokens(
    convolution(embeddings.at("patch_embedding"), pixels, width, { kernel: patchSize, stride: patchSize, bias: false, initial: { kind: "normal", std: 0.02 } }),
  );
  const token = embeddings.get("class_embedding", [width], { kind: "normal", std: width ** -0.5 });
  const positions = embeddings.at("position_embedding").get("weight", [1 + grid * grid, width], { kind: "normal", std: 0.02 });
  const start = add(concat([expand(reshape(token, [1, 1, width]), [batch, 1, width]), patches], 1), positions);
  // The key is misspelt in every published checkpoint.
  const normal = embeddings.report(layerNormalization(scope.at("pre_layrnorm"), start, eps));
  const hidden = clipEncoder(scope.at("encoder"), config, normal, false);
  const pooled = layerNormalization(scope.at("post_layernorm"), firstToken(hidden), eps);
  return { hidden, pooled };
}
