import { pictureOf } from "@tastemaker/diffusion";
import { type PictureRequest, pictureNoise } from "../models/image-sampler.ts";
import type { TextContexts } from "../models/text-contexts.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import type { ParameterSet } from "./adamw.ts";
import { planSamples } from "./batch-plan.ts";
import { checkFinite } from "./checks.ts";
import { type TrainedReward, weightedSum } from "./objective.ts";
import { noiseCount, type PolicySchedule } from "../models/policy-schedule.ts";
import type { PolicySampler, Walk } from "../models/policy-sampler.ts";

export interface RolloutOptions {
  readonly sampler: PolicySampler;
  readonly schedule: PolicySchedule;
  readonly contexts: TextContexts;
  readonly rewards: readonly TrainedReward[];
  readonly prompts: readonly string[];
  readonly seed: number;
  readonly latentShape: readonly number[];
  /** Side of a picture in pixels. */
  readonly imageSize: number;
  /** Planned pictures computed together. */
  readonly batchSize: number;
  /** Pictures per iteration, of pairs only the first ones; a multiple of `batchSize` and of `picturesPerPrompt`. */
  readonly plannedPerIteration: number;
  /** Pictures of a prompt that follow each other in the plan. */
  readonly picturesPerPrompt: number;
  /** Two pictures of each prompt instead of one: from one first latent, or from two. */
  readonly pairs: "none" | "one latent" | "two latents";
}

/** The pictures of an iteration, batch by batch, and what the rewards say of them. Row i of the whole is row i mod B of batch ⌊i/B⌋. */
export interface Rollout {
  readonly batches: readonly Walk[];
  /** Of every row. With pairs, a batch holds first the first pictures of its prompts, then the second ones. */
  readonly prompts: readonly string[];
  /** As the rewards give them, by name, of every row. */
  readonly rewards: Readonly<Record<string, readonly number[]>>;
  /** Weighted sum of the rewards, normalised where asked, of every row. */
  readonly totals: readonly number[];
}

interface PlannedRow {
  readonly prompt: string;
  readonly noise: PictureRequest["noise"];
}

/** The rows of an iteration, each a function of (seed, place in the whole run): neither the size of a batch nor an interruption matters. */
function planRows(iteration: number, options: RolloutOptions): PlannedRow[][] {
  const { prompts, seed, latentShape, schedule, batchSize, plannedPerIteration, picturesPerPrompt, pairs } = options;
  // `pictureNoise` counts steps, of which the last takes no noise.
  const steps = noiseCount(schedule) + 1;
  const samples = planSamples(prompts, iteration * plannedPerIteration, plannedPerIteration, { seed, latentShape, steps, picturesPerPrompt });
  return Array.from({ length: plannedPerIteration / batchSize }, (_, batch) => {
    const first = samples.slice(batch * batchSize, (batch + 1) * batchSize);
    if (pairs === "none") return first;
    const second = first.map(({ index, prompt, noise: { latent } }) => {
      const noise = pictureNoise({ seed, stream: "noise/1", index }, latentShape, steps);
      return { prompt, noise: pairs === "one latent" ? { ...noise, latent } : noise };
    });
    return [...first, ...second];
  });
}

/**
 * Samples and scores the pictures of an iteration (counted from 0): a pure function of the configuration, the adapter and the iteration. Rewards see 8-bit pictures, as in an evaluation.
 * @throws UsageError `not-finite` naming the picture's or reward's prompt
 */
export async function makeRollout(iteration: number, adapter: ParameterSet, options: RolloutOptions): Promise<Rollout> {
  const { sampler, contexts, rewards, imageSize } = options;
  const planned = planRows(iteration, options);
  const batches: Walk[] = [];
  for (const rows of planned) {
    const requests = await Promise.all(rows.map(async ({ prompt, noise }) => ({ context: await contexts.of(prompt), noise })));
    const walk = await sampler.walk(requests, { parameters: adapter, strength: 1 });
    for (const [row, picture] of walk.pictures.entries()) checkFinite(picture, "picture", iteration, () => rows[row]!.prompt);
    batches.push(walk);
    await letSignalsIn();
  }
  const prompts = planned.flatMap((rows) => rows.map(({ prompt }) => prompt));
  const pictures = batches.flatMap((walk) => walk.pictures.map((picture) => pictureOf(picture, imageSize, imageSize)));
  const scores: Record<string, number[]> = {};
  for (const { reward } of rewards) {
    scores[reward.name] = await reward.score(pictures, prompts);
    checkFinite(scores[reward.name]!, `reward ${reward.name}`, iteration, (index) => prompts[index]!);
  }
  const totals = prompts.map((_, row) => weightedSum(rewards, (name) => scores[name]![row]!));
  return { batches, prompts, rewards: scores, totals };
}

/** Which picture of each pair its reward prefers: +1, −1, or 0 for both of a tie; of every row. @param half rows between the two of a pair */
export function preferencesOf(totals: readonly number[], half: number): Float64Array {
  return Float64Array.from(totals, (own, row) => Math.sign(own - totals[row % (2 * half) < half ? row + half : row - half]!));
}
