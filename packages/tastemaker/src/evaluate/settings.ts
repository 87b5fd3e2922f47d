import { join, resolve } from "node:path";
import { existsSync } from "node:fs";
import { UsageError } from "@tastemaker/tensor";
import type { EvaluateOptions } from "../cli/commands/evaluate.ts";
import type { MetricSetting, TrainConfig } from "../config/train-config.ts";
import { type PromptList, resolvePrompts } from "../data/prompt-lists.ts";
import { type GivenSampling, parseTimesteps } from "../generate/choose-sampling.ts";
import type { LocateOptions } from "../hub/locate-weights.ts";
import { findAdapterFile } from "../models/adapter.ts";
import { isWorldModel, worldName } from "../models/emoji-world.ts";
import { hashText } from "../storage/file-hash.ts";
import { metricSettings } from "../rewards/held-out-metrics.ts";
import { wallClock } from "../storage/clock.ts";
import { readTrainConfig } from "../train/read-train-config.ts";
import { lastingName } from "./lasting-names.ts";
import { asMetric, type MetricChoice, parseMetrics } from "./metric-list.ts";
import type { SamplingSettings } from "./sampling.ts";
import type { VariantSetting } from "./variants.ts";

/** Everything an evaluation's numbers are a function of, besides the contents of the files it names. */
export interface EvaluationSettings extends SamplingSettings {
  /** Folder with the configurations of a model that is a single file. */
  readonly configs?: string | undefined;
  /** The base first; in a record, names that last. */
  readonly variants: readonly VariantSetting[];
  /** As given: `world:held-out`, a path, or `command line`; and how many of them are used at most. */
  readonly promptSource: string;
  readonly limit?: number | undefined;
  /** Of noise and bootstrap. */
  readonly seed: number;
  /** Pictures per prompt. */
  readonly seeds: number;
  readonly threads: number;
  readonly provider: TrainConfig["provider"];
  readonly metrics: readonly MetricSetting[];
  readonly resamples: number;
}

/** Settings that need no model to be opened. */
export type PlainSettings = Omit<EvaluationSettings, "metrics" | keyof SamplingSettings>;

/** Settings of the command line, before models and metrics are opened. */
export interface RequestedEvaluation {
  readonly settings: PlainSettings;
  /** Which sampler they belong to is known when the models are. */
  readonly sampling: GivenSampling;
  readonly metrics: MetricChoice;
  readonly prompts: PromptList;
  /** Folder for the results. */
  readonly out: string;
  /** The run of `tastemaker evaluate RUN`. */
  readonly run: { readonly path: string; readonly config: TrainConfig } | undefined;
}

const commandLine = "command line";
/** Bootstrap samples: an interval's ends are then known to about a fiftieth of its width. */
const resamples = 10_000;
/** Prompts of the embedded world where none are given. */
const worldPromptCount = 64;

/** A prompt list without repetitions: pictures are addressed by their prompt's place, and a prompt counted twice would pretend to be two. */
export function withoutRepetitions(list: PromptList): { list: PromptList; repeated: number } {
  const prompts = [...new Set(list.prompts)];
  return { list: { ...list, prompts, sha256: hashText(prompts.join("\n")) }, repeated: list.prompts.length - prompts.length };
}

/** The prompts of a source that can be read again; undefined for those of the command line and for a file that is gone. */
export async function readPromptSource({ promptSource, limit }: Pick<EvaluationSettings, "promptSource" | "limit">): Promise<PromptList | undefined> {
  if (promptSource === commandLine || promptSource === "configuration") return undefined;
  if (!promptSource.startsWith("world:") && !existsSync(promptSource)) return undefined;
  return withoutRepetitions(await resolvePrompts(promptSource, limit)).list;
}

async function choosePrompts(options: EvaluateOptions, config: TrainConfig | undefined, model: string): Promise<{ list: PromptList; limit: number | undefined }> {
  const { prompts, prompt, limit } = options;
  if (prompts !== undefined && prompt !== undefined) throw new UsageError("prompts-twice", "evaluate: expected --prompts or --prompt, got both");
  if (prompt !== undefined) return { list: { ...(await resolvePrompts(prompt, limit)), source: commandLine }, limit };
  if (prompts !== undefined) {
    const list = await resolvePrompts(prompts, limit);
    return { list: { ...list, source: prompts.startsWith("world:") ? prompts : resolve(prompts) }, limit };
  }
  if (config !== undefined) {
    const count = limit ?? config.evaluation.count;
    return { list: await resolvePrompts(config.evaluation.prompts, count), limit: count };
  }
  if (!isWorldModel(model)) throw new UsageError("prompts-missing", "evaluate: expected --prompts FILE or --prompt TEXT, got neither", "one prompt per line; several dozen make the intervals narrow");
  const count = limit ?? worldPromptCount;
  return { list: await resolvePrompts("world:held-out", count), limit: count };
}

/** `evaluations/<date>-<model>`, with a number behind it when that is taken. */
function chooseFolder(model: string): string {
  const name = model.split(/[\\/]/).filter((part) => part !== "").at(-1) ?? "model";
  const first = join("evaluations", `${wallClock().toISOString().slice(0, 10)}-${name.replaceAll(/[^\w.-]+/g, "-")}`);
  for (let number = 1; ; number++) {
    const path = number === 1 ? first : `${first}-${number}`;
    if (!existsSync(path)) return path;
  }
}

/** The metrics of a run where none are asked for: what it was trained on, what its own evaluation measures, and everything that comes with the model. */
function runMetrics(config: TrainConfig): MetricChoice {
  const trained = config.rewards.map(asMetric);
  return { all: config.evaluation.metrics === undefined, named: [...trained, ...metricSettings(config).filter(({ name }) => !trained.some((reward) => reward.name === name))] };
}

/**
 * Turns options into settings: those of the run, where one is named, then the options.
 * @throws UsageError for options that contradict each other, and whatever prompts and run give reason to
 */
export async function requestEvaluation(options: EvaluateOptions, warn: (text: string) => void, fetching: LocateOptions): Promise<RequestedEvaluation> {
  const { run: root, model: named, lora = [], compare = [] } = options;
  if (root !== undefined && named !== undefined) throw new UsageError("model-twice", `evaluate: expected a run directory or --model, got both (${root} and ${named})`, "a run says its model; further adapters go into --lora");
  const config = root === undefined ? undefined : await readTrainConfig(root);
  const model = config?.model ?? named ?? worldName;
  const { list, limit } = await choosePrompts(options, config, model);
  const { list: prompts, repeated } = withoutRepetitions(list);
  if (repeated > 0) warn(`${repeated} of ${list.prompts.length} prompts are repetitions and were left out`);
  const adapters = [...(root === undefined ? [] : [root]), ...lora];
  const variants: VariantSetting[] = [{ kind: "base", path: model }];
  for (const path of adapters) variants.push({ kind: "adapter", path: resolve(await findAdapterFile(path, options.checkpoint)) });
  for (const path of compare) variants.push({ kind: "model", path });
  // Before anything is read: a list that cannot be meant.
  if (options.timesteps !== undefined) parseTimesteps(options.timesteps);
  const configs = config?.modelConfig ?? options.configs;
  return {
    settings: {
      ...(configs === undefined ? {} : { configs: await lastingName(configs, fetching) }),
      variants,
      promptSource: prompts.source,
      ...(limit === undefined ? {} : { limit }),
      seed: options.seed ?? config?.seed ?? 0,
      seeds: options.seeds ?? Math.max(2, config?.evaluation.seeds ?? 0),
      threads: options.threads ?? config?.threads ?? 0,
      provider: options.provider ?? config?.provider ?? "cpu",
      resamples,
    },
    sampling: { steps: options.steps, timesteps: options.timesteps, guidance: options.guidance, eta: options.eta },
    metrics: options.metrics === undefined ? (config === undefined ? { all: true, named: [] } : runMetrics(config)) : await parseMetrics(options.metrics),
    prompts,
    out: resolve(options.out ?? (root === undefined ? chooseFolder(model) : join(root, "evaluation"))),
    run: root === undefined || config === undefined ? undefined : { path: root, config },
  };
}
