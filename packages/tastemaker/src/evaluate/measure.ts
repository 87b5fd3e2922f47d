import { diversityScores } from "../train/diversity.ts";
import type { EvaluationCache } from "./evaluation-cache.ts";
import { type MadePictures, makePictures, type PictureOptions } from "./make-pictures.ts";
import { cosineDistance, pixelDistance } from "./picture-distance.ts";
import type { EvaluationPlan } from "./plan.ts";
import { type ScoredPictures, scorePictures, takePicture } from "./score-pictures.ts";
import type { Measured } from "./summary.ts";

/** How much was computed and how much was known. */
export type WorkCounts = ScoredPictures["counts"] & { readonly picturesMade: number; readonly picturesCached: number };

/** The measurements of an evaluation. */
export interface Measurements {
  readonly pictures: MadePictures;
  /** One entry per variant. */
  readonly measured: readonly Measured[];
  readonly counts: WorkCounts;
}

/** Diversity of each prompt's pictures; null with one seed: pictures of different prompts differ for another reason. */
function diversityOf(embeddings: readonly Float32Array[], seeds: number): number[] | null {
  if (seeds < 2) return null;
  return diversityScores(Array.from({ length: embeddings.length / seeds }, (_, prompt) => embeddings.slice(prompt * seeds, (prompt + 1) * seeds))) ?? null;
}

/** Mean absolute difference of every variant's pictures to the base's, in levels; two pictures are in memory at a time. */
async function pixelDistances(cache: EvaluationCache, { keys }: MadePictures): Promise<(number[] | null)[]> {
  const [base, ...others] = keys;
  const distances = others.map((): number[] => []);
  for (const [place, key] of base!.entries()) {
    const picture = await takePicture(cache.pictures, key);
    for (const [index, other] of others.entries()) distances[index]!.push(pixelDistance(picture, await takePicture(cache.pictures, other[place]!)));
  }
  return [null, ...distances];
}

/**
 * Makes the pictures of a plan and measures them, with what the cache holds.
 * @returns undefined when Ctrl-C stopped it; the cache keeps what was done
 */
export async function measure(plan: EvaluationPlan, cache: EvaluationCache, options: PictureOptions): Promise<Measurements | undefined> {
  const pictures = await makePictures(plan, cache.pictures, options);
  if (pictures === undefined) return undefined;
  const scored = await scorePictures(plan, cache, pictures, options);
  if (scored === undefined) return undefined;
  const { scores, embeddings, counts } = scored;
  const pixels = await pixelDistances(cache, pictures);
  const measured = plan.variants.map((_, index): Measured => {
    const own = embeddings?.[index];
    return {
      scores: scores[index]!,
      diversity: own === undefined ? null : diversityOf(own, plan.settings.seeds),
      distance: own === undefined || index === 0 ? null : own.map((vector, place) => cosineDistance(embeddings![0]![place]!, vector)),
      pixels: pixels[index]!,
    };
  });
  return { pictures, measured, counts: { picturesMade: pictures.made, picturesCached: pictures.cached, ...counts } };
}
