import { add, type Backend, input, mean, mul, neg, program, sliceAxis, softplus, sub, type Tensor, uniform, UsageError } from "@tastemaker/tensor";
import { VisitOrder } from "../data/captioned-images.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { trainingProgram } from "../pretrain/trainable.ts";
import type { Stage } from "../pretrain/stage.ts";
import type { ParameterSet } from "../train/adamw.ts";
import { type FitModel, fitParameters, fitScope, pairInputs, readStored } from "./fit-model.ts";
import { PairPictures } from "./pair-pictures.ts";
import { type JudgedPair, pairStatistics } from "./pair-statistics.ts";
import type { Pair } from "./pairs.ts";

/** How a reward is fitted. */
export interface FitSettings {
  readonly learningRate: number;
  /** Pairs per step. */
  readonly batch: number;
  readonly weightDecay: number;
  /** Half of all visits show a pair's pictures mirrored, both of them: twice as many pictures where few are at hand. */
  readonly mirror: boolean;
  readonly seed: number;
}

/** Mirrors pictures `[3, H, W]` of a batch left to right, in place. */
export function mirrorRow(values: Float32Array, row: number, [channels, height, width]: readonly [number, number, number]): void {
  const start = row * channels * height * width;
  for (let line = 0; line < channels * height; line++) values.subarray(start + line * width, start + (line + 1) * width).reverse();
}

/** Held-out pairs that are looked at during training; the end looks at all. */
const mostWatched = 1024;

/** `scores` `[2B]`: first pictures, then second ones → their differences `[B]`. */
function margins(scores: Tensor): Tensor {
  const count = scores.shape[0]! / 2;
  return sub(sliceAxis(scores, 0, 0, count), sliceAxis(scores, 0, count, 2 * count));
}

/**
 * Mean cross-entropy between the labels and the softmax of the two scores, in nats. PickScore states the Kullback–Leibler divergence of the two, which is less by the labels' entropy:
 * a constant, ln 2 for each tie.
 *
 * @param margin, label `[B]`
 */
export function preferenceLoss(margin: Tensor, label: Tensor): Tensor {
  return mean(add(mul(label, softplus(neg(margin))), mul(sub(1, label), softplus(margin))));
}

/**
 * Training a reward on pairs. The pictures of a step are twice its pairs.
 *
 * @param write Receives the files of the finished model.
 */
export async function fitStage(
  model: FitModel,
  { learningRate, batch, weightDecay, mirror, seed }: FitSettings,
  training: readonly Pair[],
  heldOut: readonly Pair[],
  backend: Backend,
  write: (files: ReadonlyMap<string, string | Uint8Array>) => Promise<void>,
): Promise<Stage> {
  if (mirror && model.picture.shape.length !== 3) throw new UsageError("fit-mirror", `reward fit: expected no --mirror with ${model.name}, which keeps one embedding per picture`, "leave --mirror out");
  const all = fitParameters(model);
  const parameters = all.filter(({ key }) => model.isTrained(key));
  const keys = parameters.map(({ key }) => key);
  const pictures = new PairPictures(model.picture);
  const order = new VisitOrder(seed, training.length);
  const { pictures: rows, texts } = pairInputs(model, batch);
  const scope = fitScope(model);
  const margin = margins(model.score(scope, rows, texts));
  const test = program({ margin });
  const feedsOf = async (pairs: readonly Pair[]): Promise<Record<string, Float32Array | Int32Array>> => ({
    ...(model.textsOf(pairs.map(({ prompt }) => prompt)) as Record<string, Int32Array>),
    pictures: await pictures.batch([...pairs.map(({ first }) => first), ...pairs.map(({ second }) => second)]),
  });
  const judge = async (average: ParameterSet): Promise<JudgedPair[]> => {
    const judged: JudgedPair[] = [];
    const watched = heldOut.slice(0, mostWatched);
    const executable = await backend.compile(test);
    const values = Object.fromEntries([...average].filter(([key]) => test.inputs.some(({ name }) => name === key)));
    for (let start = 0; start < watched.length; start += batch) {
      const part = watched.slice(start, start + batch);
      // The last rows are filled up with a pair that is not looked at.
      const rows = Array.from({ length: batch }, (_, i) => part[i] ?? part[0]!);
      const { margin: found } = await executable.run({ ...values, ...(await feedsOf(rows)) });
      for (const [i, { label, probability }] of part.entries()) judged.push({ margin: found!.data[i]!, label, probability });
      await letSignalsIn();
    }
    await executable.dispose();
    return judged;
  };
  return {
    name: model.name,
    parameters,
    start: await readStored(model, parameters),
    optimizer: { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay, maxGradNorm: 1 },
    learningRate,
    warmupSteps: 50,
    averageDecay: 0.99,
    phases: [
      {
        until: 1,
        batch: 2 * batch,
        program: trainingProgram(preferenceLoss(margin, input("label", [batch])), {}, keys),
        feeds: async (seen) => {
          const pairs = order.indices(seen / 2, batch).map((index) => training[index]!);
          const feeds = await feedsOf(pairs);
          if (mirror) {
            const draws = uniform({ seed, stream: "fit-mirror", indices: [seen] }, batch);
            const shape = model.picture.shape as readonly [number, number, number];
            for (const [pair, draw] of draws.entries()) if (draw < 0.5) for (const row of [pair, batch + pair]) mirrorRow(feeds["pictures"] as Float32Array, row, shape);
          }
          return { ...feeds, label: Float32Array.from(pairs, ({ label }) => label) };
        },
      },
    ],
    sample: async (average) => {
      const { accuracy, logLoss, expectedCalibrationError } = pairStatistics(await judge(average));
      return { scores: { ...(accuracy === null ? {} : { accuracy: accuracy.share }), logLoss, calibrationError: expectedCalibrationError } };
    },
    finish: async (average) => {
      const values = new Map([...(await readStored(model, all.filter(({ key }) => !model.isTrained(key)))), ...average]);
      await write(await model.files(values, all));
      return new Map();
    },
  };
}
