import { join } from "node:path";

import {
  type AutoencoderConfig,
  type Checkpoint,
  type ClipTextConfig,
  type Denoiser,
  type DiffusersModel,
  type Scope,
  clipText,
  guidanceEmbedding,
  openDiffusersDirectory,
  openSingleFileModel,
  parseAutoencoderConfig,
  parseClipTextConfig,
  parseUNetConfig,
  scopeOf,
} from "@tastemaker/diffusion";
import { type Tensor, weight } from "@tastemaker/tensor";

import { openNodeFile, openNodeFolder } from "../platform/node-files.ts";
import { type CaseFile, caseError } from "./case-file.ts";

/**
 * Opens the model of a case.
 *
 * @param config Directory with the configuration of a single-file checkpoint, relative to the case.
 * @throws UsageError `case-invalid` when a single file comes without a configuration.
 */
export async function openCaseModel(kase: CaseFile, config: string | undefined): Promise<DiffusersModel> {
  const { model, directory } = kase;
  if (model === undefined) throw caseError(kase, "a model", "none");
  if (!model.endsWith(".safetensors")) return openDiffusersDirectory(await openNodeFolder(model));
  if (config === undefined) throw caseError(kase, "the directory with the configuration of a single file", "none");
  return openSingleFileModel(await openNodeFile(model), await openNodeFolder(join(directory, config)));
}

/** Weights that stay in their files. */
export function storedScope(weights: Checkpoint): Scope {
  return scopeOf((key, shape) => weight(weights.take(key, shape)));
}

/** The parts of a case's model, ready to be traced. */
export interface CaseNetworks {
  readonly model: DiffusersModel;
  readonly unet: Denoiser;
  readonly vae: { readonly scope: Scope; readonly config: AutoencoderConfig };
  readonly text: { readonly scope: Scope; readonly config: ClipTextConfig };
}

/** Opens the model of a case and reads its configurations. */
export async function openCaseNetworks(kase: CaseFile, config: string | undefined): Promise<CaseNetworks> {
  const model = await openCaseModel(kase, config);
  return {
    model,
    unet: { scope: storedScope(model.unet.weights), config: parseUNetConfig(model.unet.config) },
    vae: { scope: storedScope(model.vae.weights), config: parseAutoencoderConfig(model.vae.config) },
    text: { scope: storedScope(model.textEncoder.weights), config: parseClipTextConfig(model.textEncoder.config) },
  };
}

/** Token ids `[B, L]` to the context `[B, L, E]`. */
export function contextOf({ text }: CaseNetworks, ids: Tensor): Tensor {
  return clipText(text.scope, text.config, ids).hidden;
}

/** The guidance embedding of every row, `[B, K]`; undefined for a network that takes none. */
export function guidanceRows({ unet }: CaseNetworks, guidanceScale: number, batch: number): { readonly shape: readonly [number, number]; readonly data: Float64Array } | undefined {
  const width = unet.config.timeCondProjDim;
  if (width === undefined) return undefined;
  const row = guidanceEmbedding(guidanceScale, width);
  const data = new Float64Array(batch * width);
  for (let i = 0; i < batch; i++) data.set(row, i * width);
  return { shape: [batch, width], data };
}
