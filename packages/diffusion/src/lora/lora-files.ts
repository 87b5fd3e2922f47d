import { nearestName, UsageError } from "@tastemaker/tensor";
import type { RandomAccessFile } from "../files/random-access-file.ts";
import { readTensorFloat32, type SafetensorsEntry } from "../files/safetensors.ts";
import { readWeightFile } from "../files/weight-file.ts";
import { encodeSafetensors, type TensorToStore } from "../files/safetensors-writer.ts";
import type { LoraTarget } from "../models/lora.ts";
import { loraKeyReader } from "./lora-keys.ts";
import { peftConfigOfHeader, scaleRuleOf, unitScale } from "./lora-scale.ts";

/** The adapter of one linear layer: y = Wx + scale·up(down x). */
export interface LoraModuleWeights {
  readonly rank: number;
  readonly in: number;
  readonly out: number;
  /** `[rank, in]`, lora_A. */
  readonly down: Float32Array;
  /** `[out, rank]`, lora_B. */
  readonly up: Float32Array;
  /** alpha / rank. */
  readonly scale: number;
}

/** An adapter: its modules by path, in the model's order. */
export interface LoraWeights {
  readonly modules: ReadonlyMap<string, LoraModuleWeights>;
}

interface Parts {
  down?: { key: string; entry: SafetensorsEntry };
  up?: { key: string; entry: SafetensorsEntry };
  alpha?: { key: string; entry: SafetensorsEntry };
}

/** A linear layer's matrix may be stored as a 1×1 convolution; anything else is not for this model. */
function matrixShape(entry: SafetensorsEntry): readonly [number, number] | undefined {
  const [rows, columns, ...rest] = entry.shape;
  return rows !== undefined && columns !== undefined && rest.every((size) => size === 1) ? [rows, columns] : undefined;
}

/**
 * Reads a U-Net adapter in any of the usual file styles (see `loraKeyReader`). The scale comes from `.alpha` tensors, from the header's
 * `lora_adapter_metadata`, from `adapterConfig`, or is 1.
 *
 * @param layers The linear layers of the model that can carry an adapter.
 * @param adapterConfig Parsed `adapter_config.json` of a PEFT directory, if there is one.
 * Throws `UsageError` naming the first module that the model lacks or that has another shape; nothing is ever skipped.
 */
export async function readLora(file: RandomAccessFile, layers: readonly LoraTarget[], adapterConfig?: Readonly<Record<string, unknown>>): Promise<LoraWeights> {
  const { metadata, tensors } = await readWeightFile(file);
  const readKey = loraKeyReader(layers.map(({ module }) => module));
  const found = new Map<string, Parts>();
  for (const [key, entry] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const { module, writtenModule, part } = readKey(key, file.name);
    if (module === undefined) throw unknownModuleError(writtenModule, entry, layers, file);
    const parts = found.get(module) ?? {};
    if (parts[part] !== undefined) throw new UsageError("lora-twice", `adapter ${module}: expected one ${part} tensor, got "${parts[part].key}" and "${key}" (at ${file.name})`);
    parts[part] = { key, entry };
    found.set(module, parts);
  }
  if (found.size === 0) throw new UsageError("lora-empty", `adapter: expected LoRA tensors, got none (at ${file.name})`);

  const config = adapterConfig ?? peftConfigOfHeader(metadata, file.name);
  const hasAlphas = [...found.values()].some(({ alpha }) => alpha !== undefined);
  if (config !== undefined && hasAlphas) {
    throw new UsageError("lora-scale-twice", `adapter: expected its scale once, got both .alpha tensors and a configuration (at ${file.name})`, "remove one of them");
  }
  const scaleOf = config === undefined ? unitScale : scaleRuleOf(config, file.name);
  const modules = new Map<string, LoraModuleWeights>();
  for (const layer of layers) {
    const parts = found.get(layer.module);
    if (parts === undefined) continue;
    const { down, up } = parts;
    if (down === undefined || up === undefined) {
      throw new UsageError("lora-incomplete", `adapter ${layer.module}: expected a down and an up matrix, got only ${Object.keys(parts).join(" and ")} (at ${file.name})`);
    }
    const downShape = matrixShape(down.entry);
    const upShape = matrixShape(up.entry);
    const rank = downShape?.[0] ?? 0;
    if (rank < 1 || downShape?.[1] !== layer.in || upShape?.[0] !== layer.out || upShape[1] !== rank) {
      throw new UsageError(
        "lora-shape",
        `adapter ${layer.module}: expected down [rank, ${layer.in}] and up [${layer.out}, rank], got [${down.entry.shape.join(", ")}] and [${up.entry.shape.join(", ")}] (at ${file.name})`,
        "the adapter was made for another model",
      );
    }
    const scale = parts.alpha === undefined ? scaleOf(layer.module, rank) : (await readAlpha(file, layer.module, parts.alpha.entry)) / rank;
    modules.set(layer.module, {
      rank,
      in: layer.in,
      out: layer.out,
      down: await readFinite(file, layer.module, down.entry),
      up: await readFinite(file, layer.module, up.entry),
      scale,
    });
  }
  return { modules };
}

async function readFinite(file: RandomAccessFile, module: string, entry: SafetensorsEntry): Promise<Float32Array> {
  const values = await readTensorFloat32(file, entry);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new UsageError("lora-not-finite", `adapter ${module}: expected finite numbers, got ${values[bad]} (at ${file.name})`, "the run that made it had diverged");
  return values;
}

async function readAlpha(file: RandomAccessFile, module: string, entry: SafetensorsEntry): Promise<number> {
  const values = await readTensorFloat32(file, entry);
  const [alpha] = values;
  if (values.length !== 1 || alpha === undefined || !Number.isFinite(alpha)) {
    throw new UsageError("lora-alpha", `adapter ${module}: expected one finite alpha, got [${values.slice(0, 4).join(", ")}] (at ${file.name})`);
  }
  return alpha;
}

function unknownModuleError(module: string, entry: SafetensorsEntry, layers: readonly LoraTarget[], file: RandomAccessFile): UsageError {
  const nearest = nearestName(module, layers.map((layer) => layer.module));
  return new UsageError(
    "lora-module",
    `adapter ${module}: expected a module of this model, got one it lacks, of shape [${entry.shape.join(", ")}] (at ${file.name})`,
    `the adapter was made for another model or adapts other layers${nearest === undefined ? "" : `; the nearest module is "${nearest}"`}`,
  );
}

/** The same adapter with the scale multiplied into the up matrices, so that every scale is 1. */
export function foldScale(weights: LoraWeights): LoraWeights {
  const modules = new Map<string, LoraModuleWeights>();
  for (const [module, lora] of weights.modules) {
    modules.set(module, lora.scale === 1 ? lora : { ...lora, up: lora.up.map((value) => value * lora.scale), scale: 1 });
  }
  return { modules };
}

/** The name under which PEFT targets a module: its last part, with the index of `to_out.0`. */
function targetName(module: string): string {
  return /(?:^|\.)([^.]+(?:\.\d+)?)$/.exec(module)?.[1] ?? module;
}

/**
 * Encodes an adapter as diffusers' `pytorch_lora_weights.safetensors` (float32). The scale is folded into B **and** the header says alpha = rank, so that readers
 * with and without metadata compute the same (a reader without it assumes alpha = rank: exporting r 16, α 32 naively loads at half strength).
 */
export function encodeLora(weights: LoraWeights): Uint8Array<ArrayBuffer> {
  if (weights.modules.size === 0) throw new UsageError("lora-empty", "adapter: expected at least one module to export, got none");
  const tensors = new Map<string, TensorToStore>();
  const ranks = new Map<number, number>();
  const folded = foldScale(weights).modules;
  for (const [module, lora] of folded) {
    tensors.set(`unet.${module}.lora_A.weight`, { dtype: "F32", shape: [lora.rank, lora.in], data: lora.down });
    tensors.set(`unet.${module}.lora_B.weight`, { dtype: "F32", shape: [lora.out, lora.rank], data: lora.up });
    ranks.set(lora.rank, (ranks.get(lora.rank) ?? 0) + 1);
  }
  const commonRank = [...ranks].sort(([rankA, a], [rankB, b]) => b - a || rankA - rankB)[0]![0];
  const exceptions = Object.fromEntries([...folded].filter(([, lora]) => lora.rank !== commonRank).map(([module, lora]) => [module, lora.rank]));
  const config = {
    "unet.alpha_pattern": exceptions,
    "unet.lora_alpha": commonRank,
    "unet.lora_bias": false,
    "unet.peft_type": "LORA",
    "unet.r": commonRank,
    "unet.rank_pattern": exceptions,
    "unet.target_modules": [...new Set([...folded.keys()].map(targetName))].sort(),
    "unet.use_dora": false,
  };
  return encodeSafetensors(tensors, new Map([["format", "pt"], ["lora_adapter_metadata", JSON.stringify(config)]]));
}
