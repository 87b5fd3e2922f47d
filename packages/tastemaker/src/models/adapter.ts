import { encodeLora, type LoraAdapter, type LoraTarget, loraTargets, type LoraWeights, readLora } from "@tastemaker/diffusion";
import { input, normal, type Tensor, UsageError } from "@tastemaker/tensor";
import { openNodeFile } from "../platform/node-files.ts";
import { type CheckpointChoice, findCheckpoint } from "../storage/run-directory.ts";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ParameterSet } from "../train/adamw.ts";
import type { OpenedModel } from "./open-model.ts";

/** File name under which diffusers looks for an adapter in a folder. */
export const adapterFileName = "pytorch_lora_weights.safetensors";

/** The linear layers that an adapter changes, with the rank of each, and its strength. */
export interface AdapterLayout {
  readonly layers: readonly (LoraTarget & { readonly rank: number })[];
  /** alpha / rank. */
  readonly factor: number;
}

/** The parameter names of a layer: PEFT's, below the U-Net. */
export function adapterKeys(module: string): { readonly down: string; readonly up: string } {
  return { down: `${module}.lora_A.weight`, up: `${module}.lora_B.weight` };
}

/**
 * Where an adapter of one rank goes in a model.
 * @throws UsageError `lora-targets` when no linear layer of an attention ends with one of `targets`
 */
export function adapterLayout(model: OpenedModel, lora: { readonly rank: number; readonly alpha: number; readonly targets: readonly string[] }): AdapterLayout {
  for (const target of lora.targets) {
    if (loraTargets(model.unet, [target]).length > 0) continue;
    const example = loraTargets(model.unet)[0]?.module ?? "none";
    throw new UsageError("lora-targets", `adapter: expected the ending of an attention layer such as ${example}, got "${target}" (at setting lora.targets)`, "the usual list is to_q, to_k, to_v, to_out.0");
  }
  return { layers: loraTargets(model.unet, lora.targets).map((layer) => ({ ...layer, rank: lora.rank })), factor: lora.alpha / lora.rank };
}

/**
 * The adapter before training: A normal with standard deviation 1/r (as diffusers' LoRA layers), B zero, so that the model is unchanged. Each matrix
 * depends on the seed and its name alone.
 */
export function initialAdapter(layout: AdapterLayout, seed: number): Map<string, Float32Array> {
  const parameters = new Map<string, Float32Array>();
  for (const { module, rank, in: width, out } of layout.layers) {
    const { down, up } = adapterKeys(module);
    parameters.set(down, Float32Array.from(normal({ seed, stream: `adapter/${down}`, indices: [] }, rank * width), (z) => z / rank));
    parameters.set(up, new Float32Array(out * rank));
  }
  return parameters;
}

/** The adapter's matrices as inputs of a program, named by `adapterKeys`. `scale` [B] multiplies its effect. */
export function adapterInputs(layout: AdapterLayout, scale: Tensor): LoraAdapter {
  const targets = new Map(
    layout.layers.map(({ module, rank, in: width, out }) => {
      const { down, up } = adapterKeys(module);
      return [module, { down: input(down, [rank, width]), up: input(up, [out, rank]) }];
    }),
  );
  return { targets, scale, factor: layout.factor };
}

/** The adapter as the file writers take it. */
export function toLoraWeights(layout: AdapterLayout, parameters: ParameterSet): LoraWeights {
  const modules = layout.layers.map(({ module, rank, in: width, out }) => {
    const { down, up } = adapterKeys(module);
    return [module, { rank, in: width, out, down: parameters.get(down)!, up: parameters.get(up)!, scale: layout.factor }] as const;
  });
  return { modules: new Map(modules) };
}

/** The bytes of diffusers' `pytorch_lora_weights.safetensors`. */
export function encodeAdapter(layout: AdapterLayout, parameters: ParameterSet): Uint8Array {
  return encodeLora(toLoraWeights(layout, parameters));
}

/** An adapter that was read: its layout and its matrices. */
export interface OpenedAdapter {
  readonly path: string;
  readonly layout: AdapterLayout;
  readonly parameters: ParameterSet;
}

/** The adapter file that a path means: the file itself, a folder that holds one, or a checkpoint of a run. @throws UsageError `adapter-missing`, `checkpoint-missing` */
export async function findAdapterFile(path: string, choice: CheckpointChoice = "last"): Promise<string> {
  if (!existsSync(path)) throw new UsageError("adapter-missing", `adapter: expected a LoRA file or a run directory, got nothing (at ${path})`);
  const refuse = (): never => {
    throw new UsageError("adapter-checkpoint", `adapter: expected a run directory to choose checkpoint ${choice} from, got ${path}, which has no checkpoints`, "leave out --checkpoint");
  };
  if (!statSync(path).isDirectory()) return choice === "last" ? path : refuse();
  const own = join(path, adapterFileName);
  const checkpoint = await findCheckpoint(path, choice);
  if (checkpoint !== undefined) return join(checkpoint.path, adapterFileName);
  if (existsSync(own)) return choice === "last" ? own : refuse();
  const hint = existsSync(join(path, "run.json")) ? "the run has no checkpoint yet; `tastemaker resume` continues it" : "give the file, the folder that holds it, or a run directory";
  throw new UsageError("adapter-missing", `adapter: expected ${adapterFileName} or checkpoints, got neither (at ${path})`, hint);
}

/**
 * Reads an adapter for a model, in any of the usual styles.
 * @param choice which checkpoint, where the path is a run
 * @throws UsageError `adapter-missing`, `lora-module`, `lora-shape` (an adapter for another model) and what the file gives reason to
 */
export async function openAdapter(path: string, model: OpenedModel, choice: CheckpointChoice = "last"): Promise<OpenedAdapter> {
  const file = await findAdapterFile(path, choice);
  const known = loraTargets(model.unet);
  const { modules } = await readLora(await openNodeFile(file), known);
  const parameters = new Map<string, Float32Array>();
  const layers: (LoraTarget & { rank: number })[] = [];
  for (const [module, { rank, in: width, out, down, up, scale }] of modules) {
    const keys = adapterKeys(module);
    layers.push({ module, in: width, out, rank });
    parameters.set(keys.down, down);
    // The strength may differ from layer to layer, so it goes into the matrix.
    parameters.set(keys.up, scale === 1 ? up : up.map((value) => value * scale));
  }
  return { path: file, layout: { layers, factor: 1 }, parameters };
}
