import {
  type AutoencoderConfig,
  type ConfigJson,
  type Scope,
  type UNetConfig,
  type UNetLevel,
  autoencoderResnet,
  clipScore,
  clipText,
  decodeLatent,
  downsample,
  encodeImage,
  midBlock,
  observed,
  parseAutoencoderConfig,
  parseClipConfig,
  parseClipTextConfig,
  parseUNetConfig,
  pixelAttention,
  resnetBlock,
  timeEmbedding,
  timestepEmbedding,
  transformer,
  transformerBlock,
  unet,
  upsample,
} from "@tastemaker/diffusion";
import { type Tensor, UsageError, unknownNameError } from "@tastemaker/tensor";

import type { CaseTensor } from "./case-file.ts";

/** What a module case says beyond the common fields. */
export interface ModuleFields {
  readonly component: "unet" | "vae" | "text" | "reward";
  /** Dotted path of the module in the component; "" is the whole. */
  readonly path: string;
  readonly op: string;
  readonly outputSize?: readonly [number, number] | undefined;
  readonly blocks?: boolean | undefined;
}

/** A network's configuration, the one that belongs to the case's component. */
export type ComponentConfig =
  | { readonly component: "unet"; readonly unet: UNetConfig }
  | { readonly component: "vae"; readonly vae: AutoencoderConfig }
  | { readonly component: "text"; readonly text: ReturnType<typeof parseClipTextConfig> }
  | { readonly component: "reward"; readonly reward: ReturnType<typeof parseClipConfig> };

/** Reads the `config.json` of a component. */
export function parseComponentConfig(component: ModuleFields["component"], json: ConfigJson): ComponentConfig {
  switch (component) {
    case "unet":
      return { component, unet: parseUNetConfig(json) };
    case "vae":
      return { component, vae: parseAutoencoderConfig(json) };
    case "text":
      return { component, text: parseClipTextConfig(json) };
    case "reward":
      return { component, reward: parseClipConfig(json) };
  }
}

/** The sinusoidal embedding of a case's timesteps, `[B, width of the first level]`. */
export function sinusoidOf(timestep: CaseTensor, config: UNetConfig): CaseTensor {
  const width = config.down[0]!.channels;
  const data = new Float64Array(timestep.data.length * width);
  for (const [row, t] of timestep.data.entries()) data.set(timestepEmbedding(t, width, config.flipSinToCos, config.freqShift), row * width);
  return { shape: [timestep.data.length, width], data, dtype: "float32" };
}

/** Outputs of a module by the names the reference uses. */
export type ModuleOutputs = Readonly<Record<string, Tensor>>;

type Inputs = (name: string) => Tensor;

/** The level of the U-Net that a path leads into; undefined in the middle block. */
function levelAt(config: UNetConfig, path: string): UNetLevel | undefined {
  const [, side, index] = /^(down|up)_blocks\.(\d+)\./.exec(path) ?? [];
  if (side === undefined) return undefined;
  return config[side as "down" | "up"][Number(index)] ?? missingLevel(path, config.down.length);
}

function missingLevel(path: string, levels: number): never {
  throw new UsageError("case-invalid", `case: expected a path into one of ${levels} levels, got ${path}`);
}

/** Channels that a residual block of the autoencoder gives, read off its path: a level's blocks all have its width. */
function autoencoderWidth({ channels }: AutoencoderConfig, path: string): number {
  const [, side, index] = /\.(down|up)_blocks\.(\d+)\./.exec(path) ?? [];
  if (side === undefined) return channels.at(-1)!;
  return (side === "down" ? channels[Number(index)] : channels[channels.length - 1 - Number(index)]) ?? missingLevel(path, channels.length);
}

function unetModule(fields: ModuleFields, config: UNetConfig, scope: Scope, at: Inputs, has: (name: string) => boolean): ModuleOutputs {
  const { op, path } = fields;
  const level = levelAt(config, path);
  const { heads, transformerLayers } = level ?? config.mid;
  switch (op) {
    case "timeEmbedding":
      return {
        out: timeEmbedding(scope, at("sinusoid"), has("cond") ? at("cond") : undefined, config.timeEmbeddingDim),
        sinusoid: at("sinusoid"),
      };
    case "resnet": {
      const { channels } = level ?? config.down.at(-1)!;
      return { out: resnetBlock(scope, at("x"), at("temb"), { out: channels, groups: config.groups, eps: config.normEps }) };
    }
    case "transformer": {
      const { groups, useLinearProjection } = config;
      return { out: transformer(scope, at("x"), at("context"), { heads, groups, layers: transformerLayers, useLinearProjection }) };
    }
    case "transformerBlock":
      return { out: transformerBlock(scope, at("x"), at("context"), heads) };
    case "downsample":
      return { out: downsample(scope, at("x"), config.downsamplePadding) };
    case "upsample":
      return { out: upsample(scope, at("x"), fields.outputSize) };
    case "midBlock":
      return { out: midBlock(scope, config, at("x"), at("temb"), at("context")) };
    case "unet": {
      const blocks: Record<string, Tensor> = {};
      const watched = fields.blocks === true ? observed(scope, (name, value) => (blocks[`block.${name}`] = value)) : scope;
      const inputs = { sample: at("x"), sinusoid: at("sinusoid"), context: at("context") };
      return { out: unet(watched, config, has("cond") ? { ...inputs, cond: at("cond") } : inputs), ...blocks };
    }
    default:
      throw unknownNameError("case op", op, ["timeEmbedding", "resnet", "transformer", "transformerBlock", "downsample", "upsample", "midBlock", "unet"]);
  }
}

function vaeModule(fields: ModuleFields, config: AutoencoderConfig, scope: Scope, at: Inputs): ModuleOutputs {
  switch (fields.op) {
    case "resnet":
      return { out: autoencoderResnet(scope, config, at("x"), autoencoderWidth(config, fields.path)) };
    case "attention":
      return { out: pixelAttention(scope, at("x"), config.groups) };
    case "downsample":
      return { out: downsample(scope, at("x"), 0) };
    case "upsample":
      return { out: upsample(scope, at("x"), fields.outputSize) };
    case "vaeDecode":
      return { out: decodeLatent(scope, config, at("z")) };
    case "vaeEncode":
      return { ...encodeImage(scope, config, at("image")) };
    default:
      throw unknownNameError("case op", fields.op, ["resnet", "attention", "downsample", "upsample", "vaeDecode", "vaeEncode"]);
  }
}

/**
 * Builds the outputs of a module case.
 *
 * @param scope Scope at the module's path.
 * @param inputs Input leaves by the case's names; `timestep` is replaced by `sinusoid`.
 * @throws UsageError `unknown-name` for an operation of another kind.
 */
export function moduleOutputs(fields: ModuleFields, config: ComponentConfig, scope: Scope, inputs: ReadonlyMap<string, Tensor>): ModuleOutputs {
  const at: Inputs = (name) => {
    const found = inputs.get(name);
    const shown = name === "sinusoid" ? "timestep" : name;
    if (found === undefined) throw new UsageError("case-input", `case: expected an input "${shown}" for ${fields.op}, got ${[...inputs.keys()].join(", ")}`);
    return found;
  };
  switch (config.component) {
    case "unet":
      return unetModule(fields, config.unet, scope, at, (name) => inputs.has(name));
    case "vae":
      return vaeModule(fields, config.vae, scope, at);
    case "text": {
      const { hidden, pooled } = clipText(scope, config.text, at("input_ids"));
      return { out: hidden, pooled };
    }
    case "reward": {
      const { score, resized, pixelValues, imageEmbeds, textEmbeds, cosine } = clipScore(scope, config.reward, at("image"), at("input_ids"));
      return { out: score, resized, pixel_values: pixelValues, image_embeds: imageEmbeds, text_embeds: textEmbeds, cosine };
    }
  }
}
