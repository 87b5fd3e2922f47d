import { clipImageEmbedding, clipLogitScale, clipParameters, clipTextEmbedding, type ConfigJson, encodeSafetensors, normalizePixels, parseClipConfig, type Scope } from "@tastemaker/diffusion";
import { add, type Backend, constant, div, input, logSumExp, matmul, mean, minimum, mul, program, sqrt, square, sub, sum, type Tensor } from "@tastemaker/tensor";
import { type CaptionedImages, VisitOrder } from "../data/captioned-images.ts";
import type { ParameterSet } from "../train/adamw.ts";
import type { Stage } from "./stage.ts";
import type { MadeTokenizer } from "./text-ids.ts";
import { trainableScope, trainingProgram } from "./trainable.ts";
import { tensorsOf } from "./unet-stage.ts";

export interface ClipSettings {
  /** Folder of a CLIPModel to begin with. */
  readonly from?: string | undefined;
  readonly learningRate: number;
  readonly batch: number;
  readonly config: ConfigJson;
}

/** CLIP bounds the temperature: exp(logit_scale) ≤ 100. */
const MAX_SCALE = 100;

const unitLength = (x: Tensor): Tensor => div(x, sqrt(add(sum(square(x), 1, true), 1e-12)));

/** Cosines of every text with every picture, times the scale: `[B, B]`. */
function similarities(scope: Scope, config: ReturnType<typeof parseClipConfig>, image: Tensor, ids: Tensor): Tensor {
  const images = unitLength(clipImageEmbedding(scope, config, normalizePixels(image)));
  const texts = unitLength(clipTextEmbedding(scope, config, ids));
  return mul(matmul(texts, images, { transposeB: true }), minimum(clipLogitScale(scope, config), MAX_SCALE));
}

/** Mean of −log softmax of the diagonal along an axis. */
function contrastive(scores: Tensor, axis: number): Tensor {
  const n = scores.shape[0]!;
  const identity = constant(Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0)), [n, n]);
  return mean(sub(logSumExp(scores, axis), sum(mul(scores, identity), axis)));
}

/** How the towers of a CLIP and of a BLIP are trained: CLIP's optimiser, with decay and average for short trainings. */
export const towerTraining = { optimizer: { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.05, maxGradNorm: 1 }, warmupSteps: 60, averageDecay: 0.99 } as const satisfies Partial<Stage>;

/** Training a CLIP from scratch on captioned pictures: symmetric InfoNCE over the batch (Radford et al. 2021). */
export function clipStage(settings: ClipSettings, images: CaptionedImages<unknown>, heldOut: CaptionedImages<unknown>, tokens: MadeTokenizer, seed: number, backend: Backend, start: ParameterSet = new Map()): Stage {
  const textConfig = { ...(settings.config["text_config"] as ConfigJson), vocab_size: tokens.vocabularySize, eos_token_id: tokens.endId, max_position_embeddings: tokens.length };
  const json = { architectures: ["CLIPModel"], model_type: "clip", ...settings.config, text_config: textConfig };
  const config = parseClipConfig(json);
  const parameters = clipParameters(config);
  const order = new VisitOrder(seed, images.size);
  const { batch } = settings;
  const side = images.imageSize;
  const inputs = (count: number): [Tensor, Tensor] => [input("image", [count, 3, side, side]), input("ids", [count, tokens.length], "int32")];
  const scores = similarities(trainableScope(""), config, ...inputs(batch));
  const loss = mul(0.5, add(contrastive(scores, 0), contrastive(scores, 1)));

  const testCount = Math.min(256, heldOut.size);
  const test = program({ scores: similarities(trainableScope(""), config, ...inputs(testCount)) });
  return {
    name: "clip",
    parameters,
    start,
    ...towerTraining,
    learningRate: settings.learningRate,
    phases: [
      {
        until: 1,
        batch,
        program: trainingProgram(loss, {}, parameters.map(({ key }) => key)),
        feeds: async (seen) => {
          const { pixels, captions } = await images.batch(order.indices(seen, batch));
          return { image: pixels, ids: tokens.ids(captions) };
        },
      },
    ],
    sample: async (average: ParameterSet) => {
      const { pixels, captions } = await heldOut.batch(Array.from({ length: testCount }, (_, i) => i));
      const executable = await backend.compile(test);
      const outputs = await executable.run({ ...Object.fromEntries(average), image: pixels, ids: tokens.ids(captions) });
      await executable.dispose();
      const values = outputs["scores"]!.data;
      let right = 0;
      for (let picture = 0; picture < testCount; picture++) {
        let best = 0;
        for (let text = 1; text < testCount; text++) if (values[text * testCount + picture]! > values[best * testCount + picture]!) best = text;
        // Equal captions are equally right.
        if (captions[best] === captions[picture]) right++;
      }
      return { scores: { retrieval: right / testCount } };
    },
    finish: async (average) =>
      new Map<string, string | Uint8Array>([
        ["clip/config.json", `${JSON.stringify(json, null, 2)}\n`],
        ["clip/model.safetensors", encodeSafetensors(tensorsOf(average, parameters, ""), new Map([["format", "pt"]]))],
        ...Object.entries(tokens.files).map(([name, content]): [string, string] => [`clip/${name}`, content]),
      ]),
  };
}
