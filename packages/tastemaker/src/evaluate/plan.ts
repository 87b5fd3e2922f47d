import { cpus } from "node:os";
import type { Backend } from "@tastemaker/tensor";
import type { LocateOptions } from "../hub/locate-weights.ts";
import type { OpenedModel } from "../models/open-model.ts";
import { openNodeBackend } from "../platform/runtime.ts";
import { openPictureEmbedder, type PictureEmbedder } from "../rewards/picture-embedder.ts";
import { codeVersion } from "../storage/code-version.ts";
import { onnxruntimeVersion } from "../storage/environment.ts";
import type { FileHashes, HashedFile } from "./file-hashes.ts";
import { isPinned, metricFiles, type MetricChoice, openMetrics, type OpenedMetric, readsPrompt, remoteNames } from "./metric-list.ts";
import { findEmbeddingSpace } from "./picture-embedding.ts";
import type { SamplingSettings } from "./sampling.ts";
import type { EvaluationSettings, PlainSettings } from "./settings.ts";
import { openVariants, type Variant } from "./variants.ts";

/** What changes the digits without changing the meaning. */
export interface Machine {
  /** Operating system and processor architecture. */
  readonly platform: string;
  readonly cpu: string;
  readonly onnxruntime: string;
  readonly provider: string;
}

/** A metric with everything its scores depend on besides picture and prompt. */
export interface PlannedMetric extends OpenedMetric {
  readonly files: readonly HashedFile[];
  readonly readsPrompt: boolean;
  /** Of its scores in the cache; undefined where nothing tells versions apart, so that nothing may be kept. */
  readonly identity: object | undefined;
  /** Gives the memory of its network back; further calls do nothing. */
  release(): Promise<void>;
}

/** The embedding with everything it depends on. */
export interface PlannedEmbedding {
  readonly embedder: PictureEmbedder;
  /** Folder or file of the CLIP. */
  readonly path: string;
  readonly files: readonly HashedFile[];
  readonly identity: object;
  release(): Promise<void>;
}

/** An evaluation whose parts are opened, checked and hashed; nothing is compiled yet. */
export interface EvaluationPlan {
  readonly settings: EvaluationSettings;
  readonly prompts: readonly string[];
  readonly variants: readonly Variant[];
  readonly metrics: readonly PlannedMetric[];
  readonly embedding: PlannedEmbedding | undefined;
  readonly machine: Machine;
  /** Identity of the code that makes pictures and of the code that scores them. */
  readonly code: { readonly pictures: string; readonly scores: string };
  readonly backend: Backend;
  dispose(): Promise<void>;
}

const networkCode = ["packages/tensor", "packages/diffusion"] as const;

/** The machine, as far as digits depend on it. */
export function describeMachine(provider: string): Machine {
  return { platform: `${process.platform}-${process.arch}`, cpu: cpus()[0]?.model.trim() ?? "unknown", onnxruntime: onnxruntimeVersion() ?? "not installed", provider };
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= work());
}

async function hashAll(paths: readonly string[], hashes: FileHashes): Promise<HashedFile[]> {
  const files: HashedFile[] = [];
  for (const path of paths) files.push(await hashes.of(path));
  return files;
}

/**
 * Opens models, adapters and metrics; what is not on this disk is fetched.
 * @param samplingFor says how the models are sampled, the base first
 * @throws UsageError for anything that is missing, misshapen or does not fit together
 */
export async function openPlan(requested: PlainSettings, samplingFor: (models: readonly OpenedModel[]) => SamplingSettings, choice: MetricChoice, prompts: readonly string[], hashes: FileHashes, fetching: LocateOptions): Promise<EvaluationPlan> {
  const backend = await openNodeBackend({ threads: requested.threads, provider: requested.provider });
  const variants = await openVariants(requested.variants, requested.configs, prompts, hashes, fetching);
  const base = variants[0]!;
  const sampling = samplingFor(variants.map(({ model }) => model));
  const opened = await openMetrics(choice, base.model.name, prompts, backend, fetching);
  const machine = describeMachine(requested.provider);
  const code = {
    pictures: await codeVersion([...networkCode, "packages/tastemaker/src/models"]),
    scores: await codeVersion([...networkCode, "packages/tastemaker/src/rewards", "packages/tastemaker/src/worlds/emoji"]),
  };
  const metrics: PlannedMetric[] = [];
  for (const one of opened) {
    const { metric } = one;
    const files = await hashAll(metricFiles({ files: metric.files, setting: one.setting }), hashes);
    const reads = readsPrompt(metric);
    const { version = null, source = null } = metric as { version?: string; source?: string };
    const contents = files.map(({ sha256 }) => sha256);
    const identity = isPinned(metric) ? { what: "score", metric: metric.name, version, source, preprocessing: metric.preprocessing ?? null, readsPrompt: reads, names: remoteNames(one.setting), onnx: one.setting.onnx ?? null, files: contents, machine, code: code.scores } : undefined;
    metrics.push({ ...one, files, readsPrompt: reads, identity, release: once(() => metric.dispose()) });
  }
  const settings = opened.map(({ setting }) => setting);
  const space = await findEmbeddingSpace(base.model.name, opened);
  let embedding: PlannedEmbedding | undefined;
  if (space !== undefined) {
    const embedder = await openPictureEmbedder(space.clip, backend);
    const files = await hashAll(metricFiles({ files: embedder.files, setting: space.setting }), hashes);
    const identity = { what: "embedding", names: remoteNames(space.setting), preprocessing: embedder.preprocessing, files: files.map(({ sha256 }) => sha256), machine, code: code.scores };
    embedding = { embedder, path: space.clip.path, files, identity, release: once(() => embedder.dispose()) };
  }
  return {
    settings: { ...requested, ...sampling, variants: variants.map(({ kind, path: location }) => ({ kind, path: location })), metrics: settings },
    prompts,
    variants,
    metrics,
    embedding,
    machine,
    code,
    backend,
    dispose: async () => {
      for (const { release } of metrics) await release();
      await embedding?.release();
    },
  };
}
