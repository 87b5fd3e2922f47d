import { type BlipConfig, blipParameters, type ConfigJson, encodeSafetensors, parseBlipConfig } from "@tastemaker/diffusion";
import { add, type Backend, input, type Tensor, uniform } from "@tastemaker/tensor";
import { type CaptionedImageBatch, type CaptionedImages, VisitOrder } from "../data/captioned-images.ts";
import { blipTextLength } from "../rewards/blip-reward.ts";
import type { ParameterSet } from "../train/adamw.ts";
import { type BlipBatch, blipLosses } from "./blip-losses.ts";
import { type HeldOutPairs, scoreBlip } from "./blip-scores.ts";
import { towerTraining } from "./clip-stage.ts";
import type { Stage } from "./stage.ts";
import type { BertCaptions } from "./text-ids.ts";
import { trainableScope, trainingProgram } from "./trainable.ts";
import { tensorsOf } from "./unet-stage.ts";

export interface BlipSettings {
  /** Folder of a BLIP to begin with. */
  readonly from?: string | undefined;
  readonly learningRate: number;
  readonly batch: number;
  readonly config: ConfigJson;
}

/** Captioned pictures and, where the source can make them, others that differ from these in one thing only: hard negatives of each other. */
export type BlipImages = CaptionedImages<unknown> & { siblings?(indices: readonly number[]): CaptionedImageBatch<unknown> };

/** Pictures per step that are drawn together: all of a batch, or half where the other half are their siblings. */
async function trainingBatch(images: BlipImages, order: VisitOrder, seen: number, batch: number): Promise<Pick<CaptionedImageBatch<unknown>, "captions" | "pixels">> {
  if (images.siblings === undefined) return images.batch(order.indices(seen, batch));
  const indices = order.indices(seen, Math.ceil(batch / 2));
  const most = await images.batch(indices);
  const rest = images.siblings(indices.slice(0, batch - indices.length));
  const pixels = new Float32Array(most.pixels.length + rest.pixels.length);
  pixels.set(most.pixels);
  pixels.set(rest.pixels, most.pixels.length);
  return { captions: [...most.captions, ...rest.captions], pixels };
}

/** Standard Gumbel noise: −log(−log u). */
const gumbel = (key: Parameters<typeof uniform>[0], count: number): Float32Array => Float32Array.from(uniform(key, count), (u) => -Math.log(-Math.log(u)));

/** The architecture with the vocabulary's size and BLIP's length of texts, as written beside the weights. */
function completed(given: ConfigJson, vocabularySize: number): { json: ConfigJson; config: BlipConfig } {
  const json = { model_type: "blip", ...given, text: { ...(given["text"] as ConfigJson | undefined), vocab_size: vocabularySize, max_position_embeddings: blipTextLength } };
  return { json, config: parseBlipConfig(json) };
}

/** Training a BLIP from scratch on captioned pictures by its contrastive and its matching loss (`blipLosses`), in equal parts. */
export function blipStage(settings: BlipSettings, images: BlipImages, heldOut: HeldOutPairs, captions: BertCaptions, seed: number, backend: Backend, start: ParameterSet = new Map()): Stage {
  const { json, config } = completed(settings.config, captions.vocabularySize);
  const parameters = blipParameters(config);
  const order = new VisitOrder(seed, images.size);
  const { batch } = settings;
  const square = (name: string): Tensor => input(name, [batch, batch]);
  const ids = (name: string): Tensor => input(name, [batch, captions.length], "int32");
  const inputs: BlipBatch = {
    image: input("image", [batch, 3, images.imageSize, images.imageSize]),
    ids: ids("ids"),
    mask: ids("mask"),
    same: square("same"),
    noise: [square("noise:text"), square("noise:picture")],
  };
  const { contrastive, matching, temperature } = blipLosses(trainableScope(""), config, inputs);
  const keys = parameters.map(({ key }) => key);
  return {
    name: "blip",
    parameters,
    start,
    ...towerTraining,
    learningRate: settings.learningRate,
    phases: [
      {
        until: 1,
        batch,
        program: trainingProgram(add(contrastive, matching), { loss_contrastive: contrastive, loss_matching: matching, temperature }, keys),
        feeds: async (seen) => {
          const drawn = await trainingBatch(images, order, seen, batch);
          const noise = (index: number): Float32Array => gumbel({ seed, stream: "blip-negatives", indices: [seen, index] }, batch * batch);
          const same = Float32Array.from({ length: batch * batch }, (_, i) => Number(drawn.captions[Math.floor(i / batch)] === drawn.captions[i % batch]));
          return { image: drawn.pixels, ...captions.encode(drawn.captions), same, "noise:text": noise(0), "noise:picture": noise(1) };
        },
      },
    ],
    sample: async (average) => ({ scores: await scoreBlip(config, average, heldOut, captions, backend) }),
    finish: (average) =>
      Promise.resolve(
        new Map<string, string | Uint8Array>([
          ["blip/config.json", `${JSON.stringify(json, null, 2)}\n`],
          ["blip/model.safetensors", encodeSafetensors(tensorsOf(average, parameters, ""), new Map([["format", "pt"]]))],
          ["blip/vocab.txt", captions.vocabulary],
        ]),
      ),
  };
}
