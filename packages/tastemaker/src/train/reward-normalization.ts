import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Picture, pictureOf } from "@tastemaker/diffusion";
import { permutation, UsageError } from "@tastemaker/tensor";
import { z } from "zod";
import type { RewardSetting, TrainConfig } from "../config/train-config.ts";
import { pictureNoise } from "../models/image-sampler.ts";
import type { OpenedModel } from "../models/open-model.ts";
import type { TextContexts } from "../models/text-contexts.ts";
import { measureNormalization, type RewardNormalization, usualNormalizationPictures } from "../rewards/normalization.ts";
import type { Reward } from "../rewards/reward.ts";
import type { RunDirectory } from "../storage/run-directory.ts";
import { isSystemError, storageError } from "../storage/storage-error.ts";
import type { ParameterSet } from "./adamw.ts";
import type { SamplerSource } from "./sampler-source.ts";

/** What was measured on the base model, by the reward's name. */
export type MeasuredRewards = Readonly<Record<string, RewardNormalization & { readonly pictures: number }>>;

/** Pictures that a reward's normalisation measures; 0 when it measures none. */
function picturesOf({ normalize }: Pick<RewardSetting, "normalize">): number {
  if (normalize === "base") return usualNormalizationPictures;
  return typeof normalize === "object" && "base" in normalize ? normalize.base : 0;
}

/** The normalisation of a reward; undefined for none. */
export function normalizationOf({ name, normalize }: Pick<RewardSetting, "name" | "normalize">, measured: MeasuredRewards): RewardNormalization | undefined {
  if (typeof normalize === "object" && "std" in normalize) return normalize;
  if (normalize === undefined || normalize === "none") return undefined;
  const { mean, std } = measured[name]!;
  return { mean, std };
}

interface MeasureOptions {
  readonly model: OpenedModel;
  readonly source: SamplerSource;
  /** An adapter of the run's shapes, which is not applied. */
  readonly adapter: ParameterSet;
  readonly prompts: readonly string[];
  readonly seed: number;
  readonly contexts: TextContexts;
}

/**
 * Pictures of the base model for the training prompts: every prompt once per pass, in an order of its own. Prompts and noise of picture k are a function of (seed, k) in streams that
 * training does not draw from.
 */
async function basePictures(count: number, { model, source, adapter, prompts, seed, contexts }: MeasureOptions): Promise<{ readonly pictures: Picture[]; readonly prompts: string[] }> {
  const batchSize = model.latentShape[1] > 32 ? 1 : Math.min(8, count);
  const order = permutation({ seed, stream: "normalization-prompts", indices: [] }, prompts.length);
  const asked = Array.from({ length: count }, (_, index) => prompts[order[index % prompts.length]!]!);
  const requests = [];
  for (const [index, prompt] of asked.entries()) requests.push({ context: await contexts.of(prompt), noise: pictureNoise({ seed, stream: "normalization-noise", index }, model.latentShape, source.noiseSteps) });
  const sampler = await source.open(batchSize, false);
  try {
    const images = await sampler.sample(requests, { parameters: adapter, strength: 0 });
    return { pictures: images.map((image) => pictureOf(image, model.imageSize, model.imageSize)), prompts: asked };
  } finally {
    await sampler.dispose();
  }
}

/**
 * Mean and standard deviation of every reward with `normalize: "base"` on the base model's pictures; rewards that measure fewer take the first of them.
 * @throws UsageError `reward-constant`, `not-finite`
 */
export async function measureRewards(rewards: readonly { readonly reward: Reward; readonly setting: RewardSetting }[], options: MeasureOptions): Promise<MeasuredRewards> {
  const count = Math.max(...rewards.map(({ setting }) => picturesOf(setting)));
  if (count === 0) return {};
  const { pictures, prompts } = await basePictures(count, options);
  const measured: [string, MeasuredRewards[string]][] = [];
  for (const { reward, setting } of rewards) {
    const wanted = picturesOf(setting);
    if (wanted === 0) continue;
    const scores = await reward.score(pictures.slice(0, wanted), prompts.slice(0, wanted));
    const bad = scores.findIndex((score) => !Number.isFinite(score));
    if (bad >= 0) throw new UsageError("not-finite", `reward ${reward.name}: expected finite scores of the base model's pictures, got ${scores[bad]} (at prompt "${prompts[bad]}")`, "check the reward's weights");
    measured.push([reward.name, { ...measureNormalization(reward.name, scores), pictures: wanted }]);
  }
  return Object.fromEntries(measured);
}

const fileName = "normalization.json";
const recordSchema = z.strictObject({ format: z.literal(1), rewards: z.record(z.string(), z.strictObject({ mean: z.number(), std: z.number().gt(0), pictures: z.int().min(2) })) });

/**
 * What a run measured when it began: read from its `normalization.json`, so that a continued run works with the very same numbers, or measured and written there before the first iteration.
 * @throws UsageError `run-damaged` when a run that has begun lost them
 */
export async function measuredOnce(run: RunDirectory, config: Pick<TrainConfig, "rewards">, measure: () => Promise<MeasuredRewards>, note: (text: string) => void): Promise<MeasuredRewards> {
  const wanted = config.rewards.filter((setting) => picturesOf(setting) > 0);
  if (wanted.length === 0) return {};
  const path = join(run.paths.root, fileName);
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (isSystemError(error) && error.code === "ENOENT" && run.latest === undefined) return undefined;
    throw storageError(error, "read", path);
  });
  if (text === undefined) {
    note(`measuring ${wanted.map(({ name }) => name).join(" and ")} on ${Math.max(...wanted.map(picturesOf))} pictures of the base model`);
    const rewards = await measure();
    await run.writeFile(fileName, `${JSON.stringify({ format: 1, rewards }, undefined, 1)}\n`);
    return rewards;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Reported below.
  }
  const parsed = recordSchema.safeParse(value);
  const missing = wanted.find((setting) => !parsed.success || parsed.data.rewards[setting.name]?.pictures !== picturesOf(setting));
  if (!parsed.success || missing !== undefined) throw new UsageError("run-damaged", `run directory: expected mean, std and pictures of reward ${missing?.name} (at ${path})`, "the file was changed; begin a new run");
  return parsed.data.rewards;
}
