import { UsageError } from "@tastemaker/tensor";

import type { BlipTextConfig } from "./blip-text.ts";
import type { BlipVisionConfig } from "./blip-vision.ts";
import { type ConfigJson, ConfigReader } from "./config-reader.ts";

/** The architecture of a BLIP. */
export interface BlipConfig {
  readonly vision: BlipVisionConfig;
  readonly text: BlipTextConfig;
  /** Width of the common space; undefined for a file without projections. */
  readonly projection: number | undefined;
}

function headsOf(read: ConfigReader, what: string, width: number): number {
  const heads = read.count("heads", Math.max(1, Math.floor(width / 64)));
  if (width % heads === 0) return heads;
  throw new UsageError("blip-heads", `BLIP config: expected a number of heads that divides the width ${width}, got ${heads} (at ${what}.heads)`);
}

/**
 * Reads the configuration of a BLIP to be made from scratch: `{"embed_dim", "vision": {"width", "mlp", "layers", "heads", "patch_size", "image_size"}, "text": {"hidden_size",
 * "intermediate_size", "layers", "heads", "vocab_size", "max_position_embeddings"}}`. Beside the weights it tells `openBlip` what they do not.
 *
 * @throws UsageError `model-config`, `blip-heads`, `blip-size`, naming the key.
 */
export function parseBlipConfig(json: ConfigJson): BlipConfig {
  const top = new ConfigReader("BLIP", json);
  top.ignore("model_type");
  const visionRead = new ConfigReader("BLIP vision", top.nested("vision"));
  const textRead = new ConfigReader("BLIP text", top.nested("text"));
  const width = visionRead.count("width");
  const patchSize = visionRead.count("patch_size", 16);
  const imageSize = visionRead.count("image_size", 224);
  if (imageSize % patchSize !== 0) {
    throw new UsageError("blip-size", `BLIP config: expected pictures of whole patches of ${patchSize} pixels, got ${imageSize} pixels (at vision.image_size)`);
  }
  const vision: BlipVisionConfig = {
    width,
    inner: visionRead.count("mlp", 4 * width),
    layers: visionRead.count("layers"),
    heads: headsOf(visionRead, "vision", width),
    patchSize,
    imageSize,
    storedGrid: imageSize / patchSize,
    eps: visionRead.nonNegative("layer_norm_eps", 1e-6),
  };
  const textWidth = textRead.count("hidden_size");
  const text: BlipTextConfig = {
    width: textWidth,
    inner: textRead.count("intermediate_size", 4 * textWidth),
    layers: textRead.count("layers"),
    heads: headsOf(textRead, "text", textWidth),
    vocabulary: textRead.count("vocab_size"),
    positions: textRead.count("max_position_embeddings", 512),
    eps: textRead.nonNegative("layer_norm_eps", 1e-12),
  };
  const projection = top.count("embed_dim", 256);
  for (const read of [visionRead, textRead, top]) read.finish();
  return { vision, text, projection };
}
