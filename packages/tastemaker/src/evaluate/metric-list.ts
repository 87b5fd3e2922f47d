import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Backend, unknownNameError, UsageError } from "@tastemaker/tensor";
import { readConfigFile, resolveTrainConfig } from "../config/load-config.ts";
import type { MetricSetting, RewardSetting } from "../config/train-config.ts";
import { isRemoteName, type LocateOptions } from "../hub/locate-weights.ts";
import { isWorldModel, worldName } from "../models/emoji-world.ts";
import { isAddress } from "../rewards/custom-reward.ts";
import { openOtherRewards, openReward, rewardNames } from "../rewards/open-reward.ts";
import type { Metric, Reward } from "../rewards/reward.ts";
import { openWorldMetric, openWorldMetrics, worldMetricNames } from "../rewards/world-metrics.ts";
import { lastingSetting } from "./lasting-names.ts";

/** What `--metrics` asks for. */
export interface MetricChoice {
  /** Everything that comes with the model. */
  readonly all: boolean;
  readonly named: readonly MetricSetting[];
}

/** A metric, with the setting that opens it again. */
export interface OpenedMetric {
  readonly metric: Metric;
  readonly setting: MetricSetting;
}

function parseItem(item: string): MetricSetting {
  const equals = item.indexOf("=");
  const [name, path] = equals < 0 ? [item, undefined] : [item.slice(0, equals), item.slice(equals + 1)];
  if (name === "" || path === "") throw new UsageError("metric-option", `--metrics: expected NAME or NAME=PATH, got "${item}"`, `names are all, ${[...rewardNames, ...worldMetricNames].join(", ")}`);
  return { name, ...(path === undefined ? {} : { path }) };
}

/** A reward as a metric. */
export function asMetric({ weight: _weight, normalize: _normalize, ...setting }: RewardSetting): MetricSetting {
  return setting;
}

async function readSettings(path: string): Promise<MetricSetting[]> {
  const { rewards } = resolveTrainConfig({ value: await readConfigFile(path), path }, []);
  return rewards.map(asMetric);
}

/**
 * Reads `--metrics` options: names separated by commas, each with `=PATH` where its files lie elsewhere; `all`; or a training
 * configuration (`.json`), whose rewards are meant (for metrics that need more than a path).
 * @throws UsageError `metric-option`, `metric-twice`
 */
export async function parseMetrics(texts: readonly string[]): Promise<MetricChoice> {
  const items = texts.flatMap((text) => text.split(",")).map((item) => item.trim());
  const named: MetricSetting[] = [];
  for (const item of items) {
    if (item === "all") continue;
    named.push(...(item.endsWith(".json") && !item.includes("=") ? await readSettings(item) : [parseItem(item)]));
  }
  for (const [index, { name }] of named.entries()) {
    if (named.findIndex((other) => other.name === name) !== index) throw new UsageError("metric-twice", `--metrics: expected each name once, got "${name}" twice`);
  }
  return { all: items.includes("all"), named };
}

async function openNamed(setting: MetricSetting, model: string, prompts: readonly string[], backend: Backend, fetching: LocateOptions): Promise<Metric> {
  if (!worldMetricNames.includes(setting.name) || setting.path !== undefined) {
    if (setting.path === undefined && !rewardNames.includes(setting.name)) throw unknownNameError("metric", setting.name, ["all", ...rewardNames, ...worldMetricNames]);
    return openReward(setting, backend, model, fetching);
  }
  const found = isWorldModel(model) ? await openWorldMetric(setting.name, prompts, backend) : undefined;
  if (found !== undefined) return found;
  throw new UsageError("metric-world", `metric ${setting.name}: expected pictures and prompts of the embedded world, got ${isWorldModel(model) ? "a prompt that is not of its grammar" : `the model ${model}`}`, "leave it out, or use the prompts world:held-out");
}

/**
 * Opens metrics for pictures of a model. `all` is every reward that comes with the model and every metric that no training uses; with models other than the embedded one nothing
 * comes, so there `all` adds nothing to what is named.
 * @throws UsageError `metrics-missing`, `metric-world`, `unknown-name` and whatever a metric's files give reason to
 */
export async function openMetrics({ all, named }: MetricChoice, model: string, prompts: readonly string[], backend: Backend, fetching: LocateOptions): Promise<OpenedMetric[]> {
  const opened: OpenedMetric[] = [];
  for (const given of named) {
    const setting = await lastingSetting(given, model, fetching);
    const metric = await openNamed(setting, model, prompts, backend, fetching);
    opened.push({ setting, metric: setting.higherIsBetter === undefined ? metric : { ...metric, higherIsBetter: setting.higherIsBetter } });
  }
  if (all && isWorldModel(model)) {
    const names = named.map(({ name }) => name);
    const others = [...(await openOtherRewards(model, names, backend)), ...(await openWorldMetrics(prompts, backend))];
    for (const metric of others) if (!names.includes(metric.name)) opened.push({ metric, setting: { name: metric.name } });
  }
  if (opened.length > 0) return opened;
  throw new UsageError("metrics-missing", `evaluate: expected at least one metric, got none that comes with the model ${model}`, `say which and where their files are, for example --metrics clip-score (known: ${rewardNames.join(", ")})`);
}

/** Whether a metric looks at the prompt; one that does not say so is taken to. */
export function readsPrompt(metric: Metric): boolean {
  return (metric as Partial<Reward>).needsText !== false;
}

/** Small files beside weights that change what a network computes. */
const companionNames = ["config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"] as const;

/** Names of a setting that carry their commit: all files behind them are known by it. */
export function remoteNames({ path, vocabulary, clip }: MetricSetting): string[] {
  return [path, vocabulary, clip].filter((name) => name !== undefined && !isAddress(name) && isRemoteName(name)) as string[];
}

/**
 * Every file on this disk that a metric's scores depend on: its own list, and configurations and vocabularies beside them and where its setting points. (Those of a repository
 * do not lie beside the weights in the hub's cache; there the commit in the name tells them apart.)
 */
export function metricFiles({ files: own = [], setting }: { readonly files?: readonly string[] | undefined; readonly setting: MetricSetting }): string[] {
  const files = [...own];
  const places = [...files, setting.path, setting.vocabulary, setting.clip].filter((place) => place !== undefined && place !== worldName && existsSync(place)) as string[];
  const folders = places.map((place) => (statSync(place).isDirectory() ? place : dirname(place)));
  const companions = folders.flatMap((folder) => companionNames.map((name) => join(folder, name)).filter((path) => existsSync(path)));
  const vocabulary = setting.vocabulary !== undefined && existsSync(setting.vocabulary) && statSync(setting.vocabulary).isFile() ? [setting.vocabulary] : [];
  return [...new Set([...files, ...vocabulary, ...companions])];
}

/** Whether equal files and versions mean equal scores. An endpoint that tells no version beside its address may change at any time. */
export function isPinned(metric: Metric): boolean {
  const { version, source } = metric as Partial<Reward>;
  return rewardNames.includes(metric.name) || (metric.files?.length ?? 0) > 0 || (version !== undefined && version !== source);
}
