import { add, type Backend, input, mean, mul, neg, program, sliceAxis, softplus, sub, type Tensor } from "@tastemaker/tensor";
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
  readonly seed: number;
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
  { learningRate, batch, weightDecay, seed }: FitSettings,
  training: readonly Pair[],
  heldOut: readonly Pair[],
  backend: Backend,
  write: (files: ReadonlyMap<string, string | Uint8Array>) => Promise<void>,
): Promise<Stage> {
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
          return { ...(await feedsOf(pairs)), label: Float32Array.from(pairs, ({ label }) => label) };
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
