import { type Tensor, UsageError, add, attention, gelu, quickGelu } from "@tastemaker/tensor";

import type { ConfigReader } from "./config-reader.ts";
import { layerNormalization, linear } from "./layers.ts";
import type { Scope } from "./scope.ts";

/** What the text and the vision tower of CLIP have in common. */
export interface ClipTowerConfig {
  readonly width: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: "quick_gelu" | "gelu";
  readonly eps: number;
}

/**
 * Reads what both towers' configurations say alike, with transformers' `defaults` for absent keys.
 *
 * @throws UsageError `model-config` or `unknown-name`, naming the key.
 */
export function readClipTower(read: ConfigReader, kind: string, defaults: Pick<ClipTowerConfig, "width" | "inner" | "heads">): ClipTowerConfig {
  const config: ClipTowerConfig = {
    width: read.count("hidden_size", defaults.width),
    inner: read.count("intermediate_size", defaults.inner),
    layers: read.count("num_hidden_layers", 12),
    heads: read.count("num_attention_heads", defaults.heads),
    activation: read.oneOf("hidden_act", ["quick_gelu", "gelu"] as const, "quick_gelu"),
    eps: read.nonNegative("layer_norm_eps", 1e-5),
  };
  if (config.width % config.heads !== 0) {
    throw new UsageError("model-config", `${kind} config: expected hidden_size divisible by num_attention_heads ${config.heads}, got ${config.width} (at hidden_size)`);
  }
  return config;
}

/**
 * CLIP's stack of pre-norm transformer layers (`layers.<i>.…`). Starting values are those of the transformers library.
 *
 * @param x `[B, L, width]`
 * @param causal Every token sees only itself and earlier ones.
 */
export function clipEncoder(scope: Scope, config: ClipTowerConfig, x: Tensor, causal: boolean): Tensor {
  const { width, inner, heads, eps } = config;
  const activation = config.activation === "gelu" ? gelu : quickGelu;
  const inward = { initial: { kind: "normal", std: (2 * config.layers * width) ** -0.5 } } as const;
  const outward = { initial: { kind: "normal", std: width ** -0.5 } } as const;
  const widening = { initial: { kind: "normal", std: (2 * width) ** -0.5 } } as const;
  let h = x;
  for (let i = 0; i < config.layers; i++) {
    const layer = scope.at(`layers.${i}`);
    const own = layer.at("self_attn");
    const normal = layerNormalization(layer.at("layer_norm1"), h, eps);
    const [q, k, v] = ["q_proj", "k_proj", "v_proj"].map((name) => linear(own.at(name), normal, width, inward)) as [Tensor, Tensor, Tensor];
    h = add(h, linear(own.at("out_proj"), attention(q, k, v, { heads, causal }), width, outward));
    const wide = linear(layer.at("mlp.fc1"), layerNormalization(layer.at("layer_norm2"), h, eps), inner, widening);
    h = layer.report(add(h, linear(layer.at("mlp.fc2"), activation(wide), width, inward)));
  }
  return h;
}
