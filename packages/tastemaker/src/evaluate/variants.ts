import { existsSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { type TrainConfig, trainConfigSchema } from "../config/train-config.ts";
import { resolvePrompts } from "../data/prompt-lists.ts";
import type { LocateOptions } from "../hub/locate-weights.ts";
import { adapterFileName, openAdapter, type OpenedAdapter } from "../models/adapter.ts";
import { type OpenedModel, openModel, samplerKind, type SamplerKind } from "../models/open-model.ts";
import { readRunRecord } from "../storage/run-directory.ts";
import { contentKey } from "./content-key.ts";
import type { FileHashes, HashedFile } from "./file-hashes.ts";
import { lastingName } from "./lasting-names.ts";

/** What is compared: the base model, the base with an adapter, or another model. */
export interface VariantSetting {
  readonly kind: "base" | "adapter" | "model";
  /** Name or path of the model; of an adapter, its file. */
  readonly path: string;
}

/** A variant, opened and hashed. */
export interface Variant extends VariantSetting {
  /** Short and different from the others'. */
  readonly label: string;
  readonly model: OpenedModel;
  /** Each kind of model has its own sampler; models of different kinds start from the same latents. */
  readonly sampler: SamplerKind;
  readonly adapter: OpenedAdapter | undefined;
  /** Weight files by role. */
  readonly files: Readonly<Record<string, HashedFile>>;
  /** Hash over weights and configurations, whatever the files are called. */
  readonly modelHash: string;
  readonly adapterHash: string | null;
  /** The training run that made the adapter, where it is known. */
  readonly run: {
    readonly path: string;
    readonly step: number | null;
    /** Names of the rewards it was trained on. */
    readonly trained: readonly string[];
    /** How many of the evaluation's prompts it was trained on; null where its prompts cannot be read any more. */
    readonly promptsSeen: number | null;
  } | null;
}

async function hashModel(model: OpenedModel, hashes: FileHashes): Promise<{ files: Record<string, HashedFile>; hash: string }> {
  const files: Record<string, HashedFile> = {};
  const { unet, vae, textEncoder, schedulerConfig } = model.parts;
  for (const [role, { weights }] of Object.entries({ unet, vae, "text encoder": textEncoder })) {
    const names = [...new Set(weights.keys().map((key) => weights.entry(key).file.name))];
    for (const [index, name] of names.entries()) files[names.length === 1 ? role : `${role} ${index + 1}`] = await hashes.of(name);
  }
  const contents = Object.entries(files).map(([role, { sha256 }]) => [role, sha256]);
  return { files, hash: contentKey({ contents, unet: unet.config, vae: vae.config, textEncoder: textEncoder.config, scheduler: schedulerConfig }) };
}

async function countSeen(config: TrainConfig, prompts: readonly string[]): Promise<number | null> {
  const list = await resolvePrompts(config.prompts).catch(() => undefined);
  if (list === undefined) return null;
  const seen = new Set(list.prompts);
  return prompts.filter((prompt) => seen.has(prompt)).length;
}

/** The training run that an adapter file lies in: a checkpoint of it, or what `tastemaker export` left beside `run.json`. */
async function findRun(file: string): Promise<{ path: string; step: number | null; config: TrainConfig } | undefined> {
  const folder = dirname(file);
  const step = /^step-(\d+)$/.exec(basename(folder))?.[1];
  const path = step === undefined ? folder : dirname(dirname(folder));
  if (!existsSync(join(path, "run.json"))) return undefined;
  const record = await readRunRecord(path).catch(() => undefined);
  const config = trainConfigSchema.safeParse(record?.config);
  return record?.kind === "train" && config.success ? { path, step: step === undefined ? null : Number(step), config: config.data } : undefined;
}

function labelOf(file: string, run: { readonly path: string; readonly step: number | null } | undefined): string {
  if (run !== undefined) return `${basename(run.path)}${run.step === null ? "" : `, step ${run.step}`}`;
  return basename(file) === adapterFileName ? basename(dirname(file)) : basename(file, extname(file));
}

/** The same labels, with a number behind those that occur before. */
function distinct(labels: readonly string[]): string[] {
  return labels.map((label, index) => {
    const before = labels.slice(0, index).filter((other) => other === label).length;
    return before === 0 ? label : `${label} (${before + 1})`;
  });
}

/**
 * Opens the base model, the adapters and the other models of a comparison.
 *
 * @param settings The base first.
 * @throws UsageError `variant-twice`, `compare-shape` (models whose noise differs cannot be compared on equal noise) and whatever the files give reason to
 */
export async function openVariants(settings: readonly VariantSetting[], configs: string | undefined, prompts: readonly string[], hashes: FileHashes, fetching: LocateOptions): Promise<Variant[]> {
  const open = (name: string): Promise<OpenedModel> => openModel(name, { fetching, ...(configs === undefined ? {} : { configs }) });
  const base = await open(settings[0]!.path);
  const hashed = await hashModel(base, hashes);
  const variants: Omit<Variant, "label" | "sampler">[] = [];
  const labels: string[] = [];
  for (const { kind, path } of settings) {
    if (kind === "adapter") {
      const adapter = await openAdapter(path, base);
      const file = resolve(adapter.path);
      const run = await findRun(file);
      const sha = await hashes.of(file);
      variants.push({ kind, path: file, model: base, adapter, files: { ...hashed.files, adapter: sha }, modelHash: hashed.hash, adapterHash: sha.sha256, run: run === undefined ? null : { path: run.path, step: run.step, trained: run.config.rewards.map(({ name }) => name), promptsSeen: await countSeen(run.config, prompts) } });
      labels.push(labelOf(file, run));
      continue;
    }
    const model = kind === "base" ? base : await open(path);
    const { files, hash } = kind === "base" ? hashed : await hashModel(model, hashes);
    if (String(model.latentShape) !== String(base.latentShape) || model.imageSize !== base.imageSize) {
      throw new UsageError("compare-shape", `compare: expected latents [${base.latentShape.join(", ")}] and pictures of ${base.imageSize} pixels as ${base.name} has, got [${model.latentShape.join(", ")}] and ${model.imageSize} (at ${path})`, "models can be compared on equal noise only when their latents have one shape");
    }
    variants.push({ kind, path: await lastingName(path, fetching), model, adapter: undefined, files, modelHash: hash, adapterHash: null, run: null });
    labels.push(kind === "base" ? "base" : basename(path, extname(path) === ".safetensors" ? ".safetensors" : ""));
  }
  for (const [index, { modelHash, adapterHash, path }] of variants.entries()) {
    const same = variants.findIndex((other) => other.modelHash === modelHash && other.adapterHash === adapterHash);
    if (same !== index) throw new UsageError("variant-twice", `evaluate: expected every model and adapter once, got the same weights twice (at ${variants[same]!.path} and ${path})`, "leave one out");
  }
  return distinct(labels).map((label, index) => ({ label, ...variants[index]!, sampler: samplerKind(variants[index]!.model) }));
}

/** What would make numbers look better than they are, in words: adapters that were trained on prompts of the evaluation. */
export function seenWarnings(variants: readonly Pick<Variant, "label" | "run">[], count: number): string[] {
  return variants.flatMap(({ label, run }) => ((run?.promptsSeen ?? 0) > 0 ? [`${run!.promptsSeen} of the ${count} prompts are among those that ${label} was trained on; they are not held out`] : []));
}
