import { readFile, stat } from "node:fs/promises";
import { UsageError } from "@tastemaker/tensor";
import { z } from "zod";
import type { PromptList } from "../data/prompt-lists.ts";
import type { Reward } from "../rewards/reward.ts";
import type { Environment } from "../storage/environment.ts";
import { storageError } from "../storage/storage-error.ts";
import type { HashedFile } from "./file-hashes.ts";
import type { Measurements } from "./measure.ts";
import type { EvaluationPlan, Machine } from "./plan.ts";
import type { EvaluationSettings } from "./settings.ts";
import { type Measured, type SummaryDesign, summarise, type VariantSummary } from "./summary.ts";
import type { Variant } from "./variants.ts";

/** Name and version of the format of `evaluation.json`. */
export const recordFormat = "tastemaker-evaluation/1";

export interface RecordedVariant extends Pick<Variant, "kind" | "path" | "label" | "files" | "modelHash" | "adapterHash" | "run"> {
  /** Said where it is not the usual, multistep consistency sampling. */
  readonly sampler?: "ddim" | undefined;
  /** Hash of every picture's pixels, `[P·K]`. */
  readonly pictures: readonly string[];
  readonly measured: Measured;
  readonly summary: VariantSummary;
}

export interface RecordedMetric {
  readonly name: string;
  readonly unit: string;
  readonly higherIsBetter: boolean;
  readonly readsPrompt: boolean;
  readonly preprocessing: string | null;
  readonly source: string | null;
  readonly version: string | null;
  readonly files: readonly HashedFile[];
}

/** Content of `evaluation.json`: settings, origin, every single number, and what is said of them. */
export interface EvaluationFile {
  readonly format: typeof recordFormat;
  readonly createdAt: string;
  readonly environment: Environment;
  readonly machine: Machine;
  readonly code: EvaluationPlan["code"];
  readonly settings: EvaluationSettings;
  readonly prompts: { readonly source: string; readonly sha256: string; readonly texts: readonly string[] };
  readonly metrics: readonly RecordedMetric[];
  readonly embedding: { readonly path: string; readonly preprocessing: string; readonly files: readonly HashedFile[] } | null;
  readonly variants: readonly RecordedVariant[];
}

/** What summaries depend on besides the measurements. */
export function summaryDesign({ settings, metrics }: Pick<EvaluationFile, "settings" | "metrics">): SummaryDesign {
  return { seeds: settings.seeds, seed: settings.seed, resamples: settings.resamples, metrics };
}

/** What metrics and embedding were opened from. */
export function recordNetworks({ metrics, embedding }: Pick<EvaluationPlan, "metrics" | "embedding">): Pick<EvaluationFile, "metrics" | "embedding"> {
  return {
    metrics: metrics.map(({ metric, files, readsPrompt }) => {
      const { source = null, version = null } = metric as Partial<Reward> & { version?: string };
      return { name: metric.name, unit: metric.unit, higherIsBetter: metric.higherIsBetter ?? true, readsPrompt, preprocessing: metric.preprocessing ?? null, source, version, files };
    }),
    embedding: embedding === undefined ? null : { path: embedding.path, preprocessing: embedding.embedder.preprocessing, files: embedding.files },
  };
}

/** Puts everything together. */
export function recordEvaluation(plan: EvaluationPlan, list: PromptList, { pictures, measured }: Measurements, about: { readonly createdAt: string; readonly environment: Environment }): EvaluationFile {
  const networks = recordNetworks(plan);
  const { metrics } = networks;
  const { settings } = plan;
  const summaries = summarise(measured, summaryDesign({ settings, metrics }));
  return {
    format: recordFormat,
    createdAt: about.createdAt,
    environment: about.environment,
    machine: plan.machine,
    code: plan.code,
    settings,
    prompts: { source: list.source, sha256: list.sha256, texts: plan.prompts },
    ...networks,
    variants: plan.variants.map(({ kind, path, label, sampler, files, modelHash, adapterHash, run }, index) => ({ label, kind, path, ...(sampler === "ddim" && { sampler }), files, modelHash, adapterHash, run, pictures: pictures.hashes[index]!, measured: measured[index]!, summary: summaries[index]! })),
  };
}

const count = z.int().min(1).max(1e7);
const hash = z.string().regex(/^[0-9a-f]{64}$/, "expected 64 hexadecimal digits");
const file = z.strictObject({ path: z.string(), sha256: hash, sizeBytes: z.number() });
const numbers = z.array(z.number());
const orNull = z.number().nullable();
const estimate = z.strictObject({ mean: z.number(), standardError: orNull, low: orNull, high: orNull });
const wins = z.strictObject({ rate: z.number(), ties: z.number(), low: orNull, high: orNull });
const metricSummary = z.strictObject({ n: z.number(), mean: z.number(), standardError: orNull, difference: estimate.nullable(), wins: wins.nullable(), verdict: z.enum(["better", "worse", "unclear"]).nullable() });

const recordSchema: z.ZodType<EvaluationFile> = z.strictObject({
  format: z.literal(recordFormat),
  createdAt: z.string(),
  environment: z.looseObject({ tastemaker: z.string(), node: z.string(), onnxruntime: z.string(), platform: z.string(), cpu: z.string(), cores: z.number(), memoryBytes: z.number(), threads: z.number(), commit: z.string().optional() }) as unknown as z.ZodType<Environment>,
  machine: z.strictObject({ platform: z.string(), cpu: z.string(), onnxruntime: z.string(), provider: z.string() }),
  code: z.strictObject({ pictures: z.string(), scores: z.string() }),
  settings: z.strictObject({
    configs: z.string().optional(),
    variants: z.array(z.strictObject({ kind: z.enum(["base", "adapter", "model"]), path: z.string() })).min(1),
    promptSource: z.string(),
    limit: count.optional(),
    steps: z.int().min(1).max(50).optional(),
    timesteps: z.union([z.enum(["linspace", "skipping"]), z.array(z.int().min(0).max(999)).min(1).max(50)]).optional(),
    guidanceScale: z.number().min(1).max(100).optional(),
    ddim: z.strictObject({ steps: z.int().min(1).max(1000), eta: z.number().min(0).max(1), guidanceScale: z.number().min(1).max(100) }).optional(),
    seed: z.int().min(0),
    seeds: count.max(1000),
    threads: z.int().min(0).max(1024),
    provider: z.enum(["cpu", "cuda", "webgpu"]),
    metrics: z.array(z.looseObject({ name: z.string().min(1), path: z.string().min(1).optional() })).min(1),
    resamples: count.max(1e6),
  }),
  prompts: z.strictObject({ source: z.string(), sha256: hash, texts: z.array(z.string()).min(1).max(1e6) }),
  metrics: z.array(z.strictObject({ name: z.string(), unit: z.string(), higherIsBetter: z.boolean(), readsPrompt: z.boolean(), preprocessing: z.string().nullable(), source: z.string().nullable(), version: z.string().nullable(), files: z.array(file) })).min(1),
  embedding: z.strictObject({ path: z.string(), preprocessing: z.string(), files: z.array(file) }).nullable(),
  variants: z
    .array(
      z.strictObject({
        label: z.string(),
        kind: z.enum(["base", "adapter", "model"]),
        path: z.string(),
        sampler: z.literal("ddim").optional(),
        files: z.record(z.string(), file),
        modelHash: hash,
        adapterHash: hash.nullable(),
        run: z.strictObject({ path: z.string(), step: orNull, trained: z.array(z.string()), promptsSeen: orNull }).nullable(),
        pictures: z.array(hash),
        measured: z.strictObject({ scores: z.record(z.string(), numbers), diversity: numbers.nullable(), distance: numbers.nullable(), pixels: numbers.nullable() }),
        summary: z.strictObject({
          metrics: z.record(z.string(), metricSummary),
          diversity: z.strictObject({ mean: z.number(), standardError: orNull, difference: estimate.nullable(), ratio: orNull }).nullable(),
          nearness: z.strictObject({ distance: estimate.nullable(), shareOfDiversity: orNull, pixels: estimate }).nullable(),
        }),
      }),
    )
    .min(1),
});

/** Larger files are no evaluation. */
const largestRecordBytes = 2 ** 29;

/** What the lists' lengths must be, where they are not; undefined when all fit. */
function misfit({ settings, prompts, metrics, variants }: EvaluationFile): string | undefined {
  const total = prompts.texts.length * settings.seeds;
  if (variants.length !== settings.variants.length) return `${settings.variants.length} variants`;
  for (const [index, { label, sampler, pictures, measured }] of variants.entries()) {
    if ((sampler === "ddim" ? settings.ddim : settings.steps) === undefined) return `settings of the sampler of ${label}`;
    if (pictures.length !== total) return `${total} pictures of ${label}`;
    for (const { name } of metrics) if (measured.scores[name]?.length !== total) return `${total} scores of ${label} by ${name}`;
    const isBase = index === 0;
    if ((measured.pixels === null) !== isBase || (measured.pixels ?? []).length !== (isBase ? 0 : total)) return `${isBase ? "no" : total} pixel distances of ${label}`;
    if (measured.distance !== null && (isBase || measured.distance.length !== total)) return `${isBase ? "no" : total} distances of ${label}`;
    if (measured.diversity !== null && measured.diversity.length !== prompts.texts.length) return `${prompts.texts.length} diversities of ${label}`;
    if ((measured.diversity === null) !== (variants[0]!.measured.diversity === null)) return "diversity of all variants or of none";
  }
  return undefined;
}

/**
 * Reads an `evaluation.json`.
 * @throws UsageError `path-missing`, `evaluation-damaged` naming what does not fit
 */
export async function readEvaluation(path: string): Promise<EvaluationFile> {
  const fail = (expected: string, got: string): never => {
    throw new UsageError("evaluation-damaged", `evaluation: expected ${expected}, got ${got} (at ${path})`, "give an evaluation.json that `tastemaker evaluate` wrote");
  };
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > largestRecordBytes) return fail(`at most ${largestRecordBytes} bytes`, String(size));
    text = await readFile(path, "utf8");
  } catch (error) {
    throw storageError(error, "read", path);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return fail("JSON", (error as Error).message);
  }
  const parsed = recordSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    return fail(`format ${recordFormat}`, `${issue.message} in ${issue.path.join(".") || "the whole"}`);
  }
  const wrong = misfit(parsed.data);
  return wrong === undefined ? parsed.data : fail(wrong, wrong.startsWith("settings") ? "none" : "another number");
}
