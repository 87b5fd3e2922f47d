import { type Picture, pictureOf } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import { contactSheet, encodePng, sheetColumns } from "../images/contact-sheet.ts";
import { pictureNoise, type PictureSampler } from "../models/image-sampler.ts";
import { isFullSize, type OpenedModel } from "../models/open-model.ts";
import type { TextContexts } from "../models/text-contexts.ts";
import type { EvaluationRecord, HeldOutPoint, PairedMetric } from "../report/report-data.ts";
import { meanOf, standardErrorOf } from "../report/paired-statistics.ts";
import type { PictureEmbedder } from "../rewards/picture-embedder.ts";
import type { Metric } from "../rewards/reward.ts";
import type { RunDirectory } from "../storage/run-directory.ts";
import { copyParameters, type ParameterSet } from "./adamw.ts";
import { diversityName, diversityScores } from "./diversity.ts";
import type { PromptScores } from "./evaluation-history.ts";
import type { SamplerSource } from "./sampler-source.ts";

/** Pictures of one model on the held-out prompts, and what every metric says of them. */
export interface Scored {
  /** The first picture of every prompt. */
  readonly images: readonly Float32Array[];
  /** Means over each prompt's pictures; among them `diversity` where it can be measured. */
  readonly scores: PromptScores;
}

export interface EvaluatorOptions {
  readonly model: OpenedModel;
  readonly source: SamplerSource;
  readonly prompts: readonly string[];
  readonly promptsSha256: string;
  readonly seed: number;
  /** Pictures per prompt. */
  readonly seeds: number;
  readonly metrics: readonly Metric[];
  /** Names of the metrics that training optimises. */
  readonly trained: readonly string[];
  /** Where diversity is measured; undefined leaves it out. */
  readonly embedder: PictureEmbedder | undefined;
  readonly contexts: TextContexts;
}

/** Pictures per contact sheet, and pairs in the report's gallery, at most. */
export const sheetPictures = 16;

/**
 * Compares base and tuned model on the same prompts and the same noise (streams `evaluation`, `evaluation/1`, … one per picture of a prompt, addressed by
 * the prompt's place in the list), with the same compiled program: only the adapter's strength differs.
 */
export class Evaluator {
  readonly #options: EvaluatorOptions;
  #sampler: PictureSampler | undefined;
  #base: Scored | undefined;
  /** The newest tuned result with a copy of its adapter, so that the last evaluation of a run is not done twice. */
  #tuned: { readonly adapter: ParameterSet; readonly scored: Scored } | undefined;

  constructor(options: EvaluatorOptions) {
    this.#options = options;
  }

  /** The base model; computed once. `adapter` is not used beyond its shapes. */
  async base(adapter: ParameterSet): Promise<Scored> {
    this.#base ??= await this.#score(adapter, 0);
    return this.#base;
  }

  /** The tuned model. */
  async tuned(adapter: ParameterSet): Promise<Scored> {
    const last = this.#tuned;
    if (last !== undefined && [...adapter].every(([name, values]) => values.every((value, i) => value === last.adapter.get(name)?.[i]))) return last.scored;
    const scored = await this.#score(adapter, 1);
    this.#tuned = { adapter: copyParameters(adapter), scored };
    return scored;
  }

  /** Writes `evaluation.json` and the pictures it names into the run. Returns warnings in words. */
  async write(run: RunDirectory, adapter: ParameterSet): Promise<{ readonly record: EvaluationRecord; readonly warnings: readonly string[] }> {
    const { prompts, promptsSha256, seed, seeds, metrics: all, trained, model } = this.#options;
    const base = await this.base(adapter);
    const tuned = await this.tuned(adapter);
    const metrics: Record<string, PairedMetric> = {};
    for (const { name, unit, higherIsBetter = true } of all) {
      metrics[name] = { base: base.scores[name]!, tuned: tuned.scores[name]!, unit, higherIsBetter, isTrained: trained.includes(name) };
    }
    if (base.scores[diversityName] !== undefined) {
      const unit = seeds > 1 ? "mean cosine distance of a prompt's pictures" : "mean cosine distance of different prompts' pictures";
      metrics[diversityName] = { base: base.scores[diversityName], tuned: tuned.scores[diversityName]!, unit, higherIsBetter: true, isTrained: false };
    }
    const images: { prompt: string; base: string; tuned: string }[] = [];
    for (const [index, prompt] of prompts.slice(0, sheetPictures).entries()) {
      const names = { base: `samples/base/${pad(index)}.png`, tuned: `samples/tuned/${pad(index)}.png` };
      await run.writeFile(names.base, await encodePng(pictureOf(base.images[index]!, model.imageSize, model.imageSize)));
      await run.writeFile(names.tuned, await encodePng(pictureOf(tuned.images[index]!, model.imageSize, model.imageSize)));
      images.push({ prompt, ...names });
    }
    const record: EvaluationRecord = { format: 1, prompts, promptsSha256, seed, metrics, images };
    await run.writeFile("evaluation.json", `${JSON.stringify(record, undefined, 1)}\n`);
    const isSame = base.images.every((image, index) => image.every((value, i) => value === tuned.images[index]![i]));
    const warnings = isSame ? ["the adapter does not change a single picture: train longer, or with a higher --learning-rate or a lower --beta"] : [];
    return { record, warnings };
  }

  /** A sheet of the first pictures as PNG. */
  async sheet(scored: Scored): Promise<Uint8Array> {
    const { imageSize } = this.#options.model;
    const pictures = scored.images.slice(0, sheetPictures);
    return contactSheet(pictures, imageSize, sheetColumns(pictures.length), imageSize < 200 ? 2 : 1);
  }

  async dispose(): Promise<void> {
    await this.#sampler?.dispose();
    this.#sampler = undefined;
    for (const metric of this.#options.metrics) await metric.dispose();
    await this.#options.embedder?.dispose();
  }

  async #score(adapter: ParameterSet, strength: number): Promise<Scored> {
    const { model, source, prompts, seed, seeds, contexts, metrics, embedder } = this.#options;
    // Small pictures gain from company; large ones would only cost memory.
    const batchSize = isFullSize(model) ? 1 : Math.min(8, prompts.length);
    this.#sampler ??= await source.open(batchSize, true);
    const sums: Record<string, Float64Array> = Object.fromEntries(metrics.map(({ name }) => [name, new Float64Array(prompts.length)]));
    const embeddings: Float32Array[][] = prompts.map(() => []);
    let first: Float32Array[] | undefined;
    // One picture per prompt at a time, so that memory does not grow with their number.
    for (let round = 0; round < seeds; round++) {
      const stream = round === 0 ? "evaluation" : `evaluation/${round}`;
      const requests = [];
      for (const [index, prompt] of prompts.entries()) {
        requests.push({ context: await contexts.of(prompt), noise: pictureNoise({ seed, stream, index }, model.latentShape, source.noiseSteps) });
      }
      const images = await this.#sampler.sample(requests, { parameters: adapter, strength });
      await this.#sampler.rest();
      first ??= images;
      const pictures = images.map((image) => pictureOf(image, model.imageSize, model.imageSize));
      for (const metric of metrics) {
        for (const [index, value] of (await scoreAll(metric, pictures, prompts)).entries()) sums[metric.name]![index]! += value / seeds;
      }
      for (const [index, embedding] of ((await embedder?.embed(pictures)) ?? []).entries()) embeddings[index]!.push(embedding);
    }
    const scores: Record<string, number[]> = Object.fromEntries(Object.entries(sums).map(([name, values]) => [name, [...values]]));
    const diversity = embedder && diversityScores(embeddings);
    if (diversity !== undefined) scores[diversityName] = diversity;
    return { images: first!, scores };
  }
}

/** @throws UsageError `not-finite` naming metric and prompt */
async function scoreAll(metric: Metric, pictures: readonly Picture[], prompts: readonly string[]): Promise<number[]> {
  const values = await metric.score(pictures, prompts);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return values;
  throw new UsageError("not-finite", `evaluation: expected finite numbers, got ${values[bad]} (at metric ${metric.name}, prompt "${prompts[bad]}")`, "the model or the adapter has diverged; lower the learning rate");
}

/** Mean and standard error of every metric. */
export function heldOutPoints({ scores }: Scored): Record<string, HeldOutPoint> {
  return Object.fromEntries(Object.entries(scores).map(([name, values]) => [name, { mean: meanOf(values), standardError: values.length > 1 ? standardErrorOf(values) : 0 }]));
}

/** The scores as a run records them: seven digits, as many as the arithmetic has. */
export function recordedScores({ scores }: Scored): PromptScores {
  return Object.fromEntries(Object.entries(scores).map(([name, values]) => [name, values.map((value) => Number(value.toPrecision(7)))]));
}

function pad(index: number): string {
  return String(index).padStart(3, "0");
}
