import { pictureOf } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import { Progress } from "../cli/progress.ts";
import { pictureNoise, type PictureNoise } from "../models/image-sampler.ts";
import { isFullSize, type OpenedModel } from "../models/open-model.ts";
import { noiseSteps, openPictureSampler, type Sampling } from "../models/picture-sampler.ts";
import { TextContexts } from "../models/text-contexts.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { contentKey } from "./content-key.ts";
import type { PictureStore } from "./picture-store.ts";
import type { EvaluationPlan } from "./plan.ts";
import { samplingOf } from "./sampling.ts";
import type { Variant } from "./variants.ts";

/** The address of a picture's noise. */
export interface NoiseAddress {
  readonly seed: number;
  readonly stream: string;
  readonly index: number;
}

/** Noise of seed number `number` of the prompt at a place in the list. Number 0 is what training's own evaluations use, so that both show the same pictures. */
export function noiseAddress(seed: number, place: number, number: number): NoiseAddress {
  return { seed, stream: number === 0 ? "evaluation" : `evaluation/${number}`, index: place };
}

/** A picture to make: place in the evaluation, key in the store. */
interface Wanted {
  readonly prompt: string;
  readonly address: NoiseAddress;
  readonly key: string;
}

/** What a picture depends on besides prompt, noise and weights: of consistency models without a name, so that keys of earlier versions hold. */
function samplerIdentity(sampling: Sampling, { unet, parts }: OpenedModel, length: number): object {
  const { steps, guidanceScale } = sampling;
  if (sampling.kind === "consistency") return { steps, timesteps: sampling.timesteps, guidance: unet.timeCondProjDim === undefined ? null : guidanceScale };
  // Guidance compares with the empty prompt.
  return { sampler: sampling.kind, steps, eta: sampling.eta, guidance: guidanceScale, emptyTokens: [...parts.tokenizer.encode([""], length).ids] };
}

/** Keys of a variant's pictures: hashes of everything that a picture depends on. Picture p·K + k is seed number k of prompt p. */
export function wantedPictures({ settings, prompts, machine, code }: EvaluationPlan, { model, modelHash, adapterHash }: Variant): Wanted[] {
  const { seed, seeds } = settings;
  const { tokenizer } = model.parts;
  const length = Math.min(model.text.positions, tokenizer.maxLength);
  const sampler = samplerIdentity(samplingOf(settings, model), model, length);
  return prompts.flatMap((prompt, place) => {
    // What the network reads of the prompt.
    const tokens = [...tokenizer.encode([prompt], length).ids];
    return Array.from({ length: seeds }, (_, number) => {
      const address = noiseAddress(seed, place, number);
      return { prompt, address, key: contentKey({ what: "picture", model: modelHash, adapter: adapterHash, tokens, address, ...sampler, machine, code: code.pictures }) };
    });
  });
}

export interface PictureOptions {
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

/** Pictures of all variants: key and hash of each. */
export interface MadePictures {
  readonly keys: readonly (readonly string[])[];
  readonly hashes: readonly (readonly string[])[];
  readonly made: number;
  readonly cached: number;
}

/**
 * Makes the pictures that the store does not hold; all others are read and checked.
 * @returns undefined when Ctrl-C stopped it; what was made is kept
 * @throws UsageError `not-finite` naming the prompt
 */
export async function makePictures(plan: EvaluationPlan, store: PictureStore, { signal, note }: PictureOptions): Promise<MadePictures | undefined> {
  const wanted = plan.variants.map((variant) => wantedPictures(plan, variant));
  const hashes: string[][] = [];
  const missing: number[][] = [];
  for (const [index, pictures] of wanted.entries()) {
    hashes[index] = [];
    missing[index] = [];
    for (const [place, { key }] of pictures.entries()) {
      const stored = await store.read(key);
      hashes[index].push(stored?.hash ?? "");
      if (stored === undefined) missing[index].push(place);
    }
  }
  const total = missing.reduce((sum, places) => sum + places.length, 0);
  const all = wanted.reduce((sum, pictures) => sum + pictures.length, 0);
  if (total < all) note(`${all - total} of ${all} pictures were made before`);
  const contexts = new Map<OpenedModel, TextContexts>();
  const progress = new Progress({ label: "pictures", total });
  let made = 0;
  try {
    for (const [index, variant] of plan.variants.entries()) {
      const places = missing[index]!;
      if (places.length === 0) continue;
      const texts = contexts.get(variant.model) ?? new TextContexts(variant.model, plan.backend, (text) => note(`warning: ${text}`));
      contexts.set(variant.model, texts);
      const finished = await sampleVariant(plan, variant, texts, places.map((place) => wanted[index]![place]!), async (offset, values) => {
        const place = places[offset]!;
        const { prompt, key } = wanted[index]![place]!;
        const bad = values.findIndex((value) => !Number.isFinite(value));
        if (bad >= 0) throw new UsageError("not-finite", `evaluate: expected finite numbers, got ${values[bad]} in the picture of "${prompt}" (at ${variant.label})`, "the model or the adapter has diverged");
        const { imageSize } = variant.model;
        hashes[index]![place] = await store.write(key, pictureOf(values, imageSize, imageSize));
        made++;
        progress.update(made, variant.label);
      }, signal);
      if (!finished) return undefined;
    }
  } finally {
    progress.finish();
    for (const texts of contexts.values()) await texts.dispose();
  }
  return { keys: wanted.map((pictures) => pictures.map(({ key }) => key)), hashes, made, cached: all - total };
}

/** Makes pictures of one variant, several at a time; false when Ctrl-C stopped it. */
async function sampleVariant(plan: EvaluationPlan, { model, adapter }: Variant, texts: TextContexts, pictures: readonly Wanted[], keep: (offset: number, values: Float32Array) => Promise<void>, signal: AbortSignal): Promise<boolean> {
  const { settings, backend } = plan;
  // Small pictures gain from company; large ones would only cost memory.
  const batchSize = isFullSize(model) ? 1 : Math.min(8, pictures.length);
  const sampling = samplingOf(settings, model);
  const steps = noiseSteps(model, sampling);
  const sampler = await openPictureSampler(model, sampling, { layout: adapter?.layout, batchSize, contexts: texts }, backend);
  try {
    for (let start = 0; start < pictures.length; start += batchSize) {
      if (signal.aborted) return false;
      const requests: { context: Float32Array; noise: PictureNoise }[] = [];
      for (const { prompt, address } of pictures.slice(start, start + batchSize)) {
        requests.push({ context: await texts.of(prompt), noise: pictureNoise(address, model.latentShape, steps) });
      }
      const values = await sampler.sample(requests, adapter && { parameters: adapter.parameters, strength: 1 });
      for (const [offset, picture] of values.entries()) await keep(start + offset, picture);
      await letSignalsIn();
    }
    return true;
  } finally {
    await sampler.dispose();
  }
}
