import type { Picture } from "@tastemaker/diffusion";
import { InternalError, UsageError } from "@tastemaker/tensor";
import { Progress } from "../cli/progress.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { contentKey } from "./content-key.ts";
import type { EvaluationCache } from "./evaluation-cache.ts";
import type { MadePictures, PictureOptions } from "./make-pictures.ts";
import type { PictureStore } from "./picture-store.ts";
import type { EvaluationPlan, PlannedMetric } from "./plan.ts";
import type { ValueStore } from "./value-store.ts";

/** Pictures that are in memory at the same time. */
const chunk = 16;

/** Scores and embeddings of all pictures; indices are [variant][picture]. */
export interface ScoredPictures {
  readonly scores: readonly Readonly<Record<string, readonly number[]>>[];
  readonly embeddings: readonly (readonly Float32Array[])[] | undefined;
  readonly counts: { readonly scoresComputed: number; readonly scoresCached: number; readonly embeddingsComputed: number; readonly embeddingsCached: number };
}

/** A picture to be looked at. */
interface Look {
  readonly variant: number;
  readonly place: number;
  readonly prompt: string;
  readonly pictureKey: string;
  /** Of the value in its store. */
  readonly key: string;
}

/** A picture of the store that must be there. @throws UsageError `cache-changed` */
export async function takePicture(store: PictureStore, key: string): Promise<Picture> {
  const stored = await store.read(key);
  if (stored !== undefined) return stored.picture;
  throw new UsageError("cache-changed", `evaluate: expected a picture that was there a moment ago, got none (key ${key.slice(0, 12)}…)`, "another process has emptied the cache; run the command again");
}

function looks(plan: EvaluationPlan, pictures: MadePictures, readsPrompt: boolean): Look[] {
  const { seeds } = plan.settings;
  return pictures.keys.flatMap((keys, variant) =>
    keys.map((pictureKey, place) => {
      const prompt = plan.prompts[Math.floor(place / seeds)]!;
      return { variant, place, prompt, pictureKey, key: contentKey({ picture: pictures.hashes[variant]![place]!, prompt: readsPrompt ? prompt : null }) };
    }),
  );
}

async function scoreChunk(plan: EvaluationPlan, { metric }: PlannedMetric, part: readonly Look[], store: PictureStore): Promise<number[]> {
  const pictures: Picture[] = [];
  for (const { pictureKey } of part) pictures.push(await takePicture(store, pictureKey));
  const values = await metric.score(pictures, part.map(({ prompt }) => prompt));
  if (values.length !== part.length) throw new InternalError(`metric ${metric.name}: expected ${part.length} scores, got ${values.length}`);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return values;
  const { variant, place, prompt, pictureKey } = part[bad]!;
  const { seeds } = plan.settings;
  throw new UsageError("not-finite", `evaluate: expected finite numbers, got ${values[bad]} from metric ${metric.name} (at ${plan.variants[variant]!.label}, prompt "${prompt}", seed number ${place % seeds}, picture ${await store.pathOf(pictureKey)})`, "leave the metric or the prompt out, or repair the metric");
}

/**
 * What every metric says of every picture, and the pictures' embeddings; values that the cache holds are not computed again. Pictures are read from the store a few at a time.
 * @returns undefined when Ctrl-C stopped it; what was computed is kept
 * @throws UsageError `not-finite` naming picture and prompt
 */
export async function scorePictures(plan: EvaluationPlan, cache: EvaluationCache, pictures: MadePictures, { signal, note }: PictureOptions): Promise<ScoredPictures | undefined> {
  const scores = plan.variants.map((): Record<string, number[]> => ({}));
  const work: { planned: PlannedMetric; store: ValueStore | undefined; missing: Look[] }[] = [];
  for (const planned of plan.metrics) {
    const { metric, identity, readsPrompt } = planned;
    const store = identity === undefined ? undefined : await cache.values(identity);
    for (const [variant, keys] of pictures.keys.entries()) scores[variant]![metric.name] = Array<number>(keys.length).fill(Number.NaN);
    const missing = looks(plan, pictures, readsPrompt).filter(({ variant, place, key }) => {
      const known = store?.get(key);
      if (typeof known !== "number") return true;
      scores[variant]![metric.name]![place] = known;
      return false;
    });
    work.push({ planned, store, missing });
  }
  const all = plan.metrics.length * pictures.keys.reduce((sum, keys) => sum + keys.length, 0);
  const total = work.reduce((sum, { missing }) => sum + missing.length, 0);
  if (total < all) note(`${all - total} of ${all} scores were computed before`);
  const progress = new Progress({ label: "scores", total });
  let computed = 0;
  try {
    for (const { planned, store, missing } of work) {
      const { metric } = planned;
      for (let start = 0; start < missing.length; start += chunk) {
        if (signal.aborted) return undefined;
        const part = missing.slice(start, start + chunk);
        const values = await scoreChunk(plan, planned, part, cache.pictures);
        for (const [row, { variant, place }] of part.entries()) scores[variant]![metric.name]![place] = values[row]!;
        await store?.add(part.map(({ key }, row) => [key, values[row]!]));
        computed += part.length;
        progress.update(computed, metric.name);
        await letSignalsIn();
      }
      // Its network's memory is not needed any more; the next may be as large.
      await planned.release();
    }
  } finally {
    progress.finish();
  }
  const embedded = await embedPictures(plan, cache, pictures, signal);
  if (embedded === "stopped") return undefined;
  const embeddings = embedded?.embeddings;
  return {
    scores,
    embeddings,
    counts: { scoresComputed: computed, scoresCached: all - computed, embeddingsComputed: embedded?.computed ?? 0, embeddingsCached: embedded?.cached ?? 0 },
  };
}

const toText = (values: Float32Array): string => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64");

function toVector(text: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(text, "base64"));
  return new Float32Array(bytes.buffer, 0, bytes.length / 4);
}

async function embedPictures(plan: EvaluationPlan, cache: EvaluationCache, pictures: MadePictures, signal: AbortSignal): Promise<{ embeddings: Float32Array[][]; computed: number; cached: number } | "stopped" | undefined> {
  if (plan.embedding === undefined) return undefined;
  const { embedder, identity, release } = plan.embedding;
  const store = await cache.values(identity);
  const all = looks(plan, pictures, false);
  const missing = all.filter(({ key }) => typeof store.get(key) !== "string");
  const progress = new Progress({ label: "embeddings", total: missing.length });
  try {
    for (const [index, { key, pictureKey, variant, prompt }] of missing.entries()) {
      if (signal.aborted) return "stopped";
      const [vector] = (await embedder.embed([await takePicture(cache.pictures, pictureKey)])) as [Float32Array];
      if (!vector.every(Number.isFinite)) throw new UsageError("not-finite", `evaluate: expected a finite embedding, got another of "${prompt}" (at ${plan.variants[variant]!.label}, picture ${await cache.pictures.pathOf(pictureKey)})`);
      await store.add([[key, toText(vector)]]);
      progress.update(index + 1);
      await letSignalsIn();
    }
  } finally {
    progress.finish();
  }
  await release();
  const embeddings = pictures.keys.map((): Float32Array[] => []);
  for (const { variant, place, key } of all) embeddings[variant]![place] = toVector(store.get(key) as string);
  return { embeddings, computed: missing.length, cached: all.length - missing.length };
}
