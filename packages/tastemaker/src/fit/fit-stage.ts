import { add, type Backend, input, matmul, mul, neg, program, reshape, softplus, sub, sum, type Tensor, uniform, UsageError } from "@tastemaker/tensor";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { trainingProgram } from "../pretrain/trainable.ts";
import type { Stage } from "../pretrain/stage.ts";
import type { ParameterSet } from "../train/adamw.ts";
import { type FitModel, fitParameters, fitScope, readStored, scoreInputs } from "./fit-model.ts";
import { batchesInOrder, type PairBatch, PairBatches } from "./pair-batches.ts";
import { PairPictures } from "./pair-pictures.ts";
import { type JudgedPair, pairStatistics } from "./pair-statistics.ts";
import type { Pair } from "./pairs.ts";

/** How a reward is fitted. */
export interface FitSettings {
  readonly learningRate: number;
  /** Half the pictures of a step: its pairs, where every picture is in one. */
  readonly batch: number;
  readonly weightDecay: number;
  /** Half of all visits show a prompt's pictures mirrored, all of them: twice as many pictures where few are at hand. */
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

/**
 * Mean cross-entropy between the labels and the softmax of the two scores, in nats. PickScore states the Kullback–Leibler divergence of the two, which is less by the labels' entropy:
 * a constant, ln 2 for each tie.
 *
 * @param margin, label `[M]` @param share `[M]`, of the mean: 1/pairs, and 0 for places without a pair
 */
export function preferenceLoss(margin: Tensor, label: Tensor, share: Tensor): Tensor {
  return sum(mul(share, add(mul(label, softplus(neg(margin))), mul(sub(1, label), softplus(margin)))));
}

/**
 * Training a reward on pairs. A step scores `2 · batch` pictures and learns from all pairs among them.
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
  const count = 2 * batch;
  const batches = new PairBatches(training, count, seed);
  const { slots } = batches;
  const { pictures: rows, texts } = scoreInputs(model, count);
  const scope = fitScope(model);
  // Row m of `select` has +1 at the first picture of pair m and −1 at the second.
  const margin = reshape(matmul(input("select", [slots, count]), reshape(model.score(scope, rows, texts), [count, 1])), [slots]);
  const test = program({ margin });
  const feedsOf = async ({ pictures: shown, pairs }: PairBatch): Promise<Record<string, Float32Array | Int32Array>> => {
    // The last rows are filled up with a picture that no pair has there.
    const filled = Array.from({ length: count }, (_, row) => shown[row] ?? shown[0]!);
    const select = new Float32Array(slots * count);
    for (const [row, { first, second }] of pairs.entries()) {
      select[row * count + first]! += 1;
      select[row * count + second]! -= 1;
    }
    return { ...(model.textsOf(filled.map(({ prompt }) => prompt)) as Record<string, Int32Array>), pictures: await pictures.batch(filled.map(({ path }) => path)), select };
  };
  const judge = async (average: ParameterSet): Promise<JudgedPair[]> => {
    const judged: JudgedPair[] = [];
    const watched = heldOut.slice(0, mostWatched);
    const executable = await backend.compile(test);
    const values = Object.fromEntries([...average].filter(([key]) => test.inputs.some(({ name }) => name === key)));
    for (const part of batchesInOrder(watched, count, slots)) {
      const { margin: found } = await executable.run({ ...values, ...(await feedsOf(part)) });
      for (const [i, { pair }] of part.pairs.entries()) judged.push({ margin: found!.data[i]!, label: pair.label, probability: pair.probability });
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
        batch: count,
        program: trainingProgram(preferenceLoss(margin, input("label", [slots]), input("share", [slots])), {}, keys),
        feeds: async (seen) => {
          const shown = batches.at(seen / count);
          const feeds = await feedsOf(shown);
          if (mirror) {
            const shape = model.picture.shape as readonly [number, number, number];
            // All pictures of a prompt or none, so that a pair stays a pair of equals.
            const draws = uniform({ seed, stream: "fit-mirror", indices: [seen] }, count);
            const first = new Map<string, number>();
            for (const [row, { prompt }] of shown.pictures.entries()) {
              if (!first.has(prompt)) first.set(prompt, row);
              if (draws[first.get(prompt)!]! < 0.5) mirrorRow(feeds["pictures"] as Float32Array, row, shape);
            }
          }
          const label = new Float32Array(slots);
          for (const [row, { pair }] of shown.pairs.entries()) label[row] = pair.label;
          return { ...feeds, label, share: new Float32Array(slots).fill(1 / shown.pairs.length, 0, shown.pairs.length) };
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
