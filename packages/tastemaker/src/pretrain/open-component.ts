import { join } from "node:path";
import { type AutoencoderConfig, type Checkpoint, type ConfigJson, loadCheckpoint, parseAutoencoderConfig, readSafetensorsHeader, readTensorFloat32, type Scope, scopeOf } from "@tastemaker/diffusion";
import { weight } from "@tastemaker/tensor";
import { openNodeFile, openNodeFolder } from "../platform/node-files.ts";
import { hashFile } from "../storage/file-hash.ts";

/** A trained component: frozen weights in their file, and its configuration. */
export interface FrozenComponent {
  readonly scope: Scope;
  readonly weights: Checkpoint;
  readonly json: ConfigJson;
  /** SHA-256 of the weight file. */
  readonly hash: string;
}

/** Opens `config.json` and the weight file of one component's folder. Throws `UsageError`. */
export async function openComponent(folder: string, weights = "diffusion_pytorch_model.safetensors"): Promise<FrozenComponent> {
  const json = (await (await openNodeFolder(folder)).readJson("config.json")) as ConfigJson;
  const file = await openNodeFile(join(folder, weights));
  const checkpoint = await loadCheckpoint([file]);
  return { scope: scopeOf((key, shape) => weight(checkpoint.take(key, shape))), weights: checkpoint, json, hash: (await hashFile(file.name)).sha256 };
}

/** A trained autoencoder. */
export interface Autoencoder extends FrozenComponent {
  readonly config: AutoencoderConfig;
}

/** Opens an autoencoder's folder. */
export async function openAutoencoder(folder: string): Promise<Autoencoder> {
  const component = await openComponent(folder);
  return { ...component, config: parseAutoencoderConfig(component.json) };
}

/** All values of a component's weight file in float32, under `prefix + key`: where a training may begin. Throws `UsageError`. */
export async function readValues(folder: string, weights: string, prefix: string): Promise<Map<string, Float32Array>> {
  const file = await openNodeFile(join(folder, weights));
  const { tensors } = await readSafetensorsHeader(file);
  const values = new Map<string, Float32Array>();
  for (const [key, entry] of tensors) values.set(prefix + key, await readTensorFloat32(file, entry));
  return values;
}
