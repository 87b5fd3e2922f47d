import { type Tensor, div, exp, input, mul, sqrt, square, sum } from "@tastemaker/tensor";

import { normalizePixels } from "../images/preprocessing.ts";
import { resizedShorterSide } from "../images/resize-matrix.ts";
import { type ClipTextConfig, clipText, parseClipTextConfig } from "./clip-text.ts";
import { type ClipVisionConfig, clipVision, parseClipVisionConfig } from "./clip-vision.ts";
import { type ConfigJson, ConfigReader } from "./config-reader.ts";
import { linear } from "./layers.ts";
import { type Parameter, type Scope, collectParameters } from "./scope.ts";

/** A transformers `CLIPModel` configuration. */
export interface ClipConfig {
  readonly text: ClipTextConfig;
  readonly vision: ClipVisionConfig;
  /** Width of the common space. */
  readonly projection: number;
  readonly logitScaleInit: number;
}

/**
 * Reads a `CLIPModel`'s `config.json`. Where an old file has a `*_config_dict`, it counts alone, as in transformers: what it does not say is the default, whatever `*_config` says.
 *
 * @throws UsageError `model-config` or `unknown-name`, naming the key.
 */
export function parseClipConfig(json: ConfigJson): ClipConfig {
  const read = new ConfigReader("CLIPModel", json);
  const hasOld = (key: string): boolean => Object.hasOwn(json, key) && json[key] !== null;
  return {
    text: parseClipTextConfig(read.nested(hasOld("text_config_dict") ? "text_config_dict" : "text_config")),
    vision: parseClipVisionConfig(read.nested(hasOld("vision_config_dict") ? "vision_config_dict" : "vision_config")),
    projection: read.count("projection_dim", 512),
    logitScaleInit: read.number("logit_scale_init_value", 2.6592),
  };
}

/** Pixel values to the common space `[B, projection]`, before normalisation. */
export function clipImageEmbedding(scope: Scope, config: ClipConfig, pixels: Tensor): Tensor {
  const { pooled } = clipVision(scope.at("vision_model"), config.vision, pixels);
  return linear(scope.at("visual_projection"), pooled, config.projection, {
    bias: false,
    initial: { kind: "normal", std: config.vision.width ** -0.5 },
  });
}

/** Token ids `[B, L]` to the common space `[B, projection]`, before normalisation. */
export function clipTextEmbedding(scope: Scope, config: ClipConfig, ids: Tensor): Tensor {
  const { pooled } = clipText(scope.at("text_model"), config.text, ids);
  return linear(scope.at("text_projection"), pooled, config.projection, {
    bias: false,
    initial: { kind: "normal", std: config.text.width ** -0.5 },
  });
}

/** exp(logit_scale), a scalar. */
export function clipLogitScale(scope: Scope, config: ClipConfig): Tensor {
  return exp(scope.get("logit_scale", [], { kind: "constant", value: config.logitScaleInit }));
}

/** Cosine of the rows of `a` and `b`, both `[B, E]`; result `[B]`. */
export function cosine(a: Tensor, b: Tensor): Tensor {
  const length = (x: Tensor): Tensor => sqrt(sum(square(x), 1));
  return div(sum(mul(a, b), 1), mul(length(a), length(b)));
}

export interface ClipScore {
  /** The picture at the model's size `[B, 3, S, S]`, not clamped: values may leave [0, 1] at hard edges. */
  readonly resized: Tensor;
  readonly pixelValues: Tensor;
  /** `[B, E]`, before normalisation. */
  readonly imageEmbeds: Tensor;
  /** `[B, E]`, before normalisation. */
  readonly textEmbeds: Tensor;
  /** `[B]` */
  readonly cosine: Tensor;
  /** exp(logit_scale)·cosine, `[B]`: PickScore's scale. */
  readonly score: Tensor;
}

/**
 * How well pictures fit texts, differentiably: antialiased cubic resize of the shorter side, centre crop, normalisation, both towers.
 *
 * @param image `[B, 3, H, W]` in [0, 1], any size.
 * @param ids Token ids `[B, L]`, int32.
 */
export function clipScore(scope: Scope, config: ClipConfig, image: Tensor, ids: Tensor): ClipScore {
  const resized = resizedShorterSide(image, config.vision.imageSize);
  const pixelValues = normalizePixels(resized);
  const imageEmbeds = clipImageEmbedding(scope, config, pixelValues);
  const textEmbeds = clipTextEmbedding(scope, config, ids);
  const cos = cosine(imageEmbeds, textEmbeds);
  return { resized, pixelValues, imageEmbeds, textEmbeds, cosine: cos, score: mul(clipLogitScale(scope, config), cos) };
}

/** Every parameter of both towers. */
export function clipParameters(config: ClipConfig): Parameter[] {
  const { imageSize } = config.vision;
  return collectParameters((scope) => {
    clipScore(scope, config, input("image", [1, 3, imageSize, imageSize]), input("input_ids", [1, config.text.positions], "int32"));
  });
}
