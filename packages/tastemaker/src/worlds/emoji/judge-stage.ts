import { encodeSafetensors } from "@tastemaker/diffusion";
import { add, type Backend, input, logSumExp, mean, mul, oneHot, program, sub, sum, type Tensor } from "@tastemaker/tensor";
import { trainableScope, trainingProgram } from "../../pretrain/trainable.ts";
import type { Stage } from "../../pretrain/stage.ts";
import type { ParameterSet } from "../../train/adamw.ts";
import { tensorsOf } from "../../pretrain/unet-stage.ts";
import type { EmojiImages, SceneLabels } from "./emoji-images.ts";
import { judge, judgeHeads, type JudgeHead, judgeParameters } from "./judge.ts";

export interface JudgeSettings {
  /** Folder of a judge to begin with. */
  readonly from?: string | undefined;
  readonly learningRate: number;
  readonly batch: number;
  readonly width: number;
}

const heads = Object.keys(judgeHeads) as JudgeHead[];

/** The right class of every head. */
export function judgeTargets(labels: SceneLabels): Record<JudgeHead, number> {
  const or = (index: number, none: number): number => (index < 0 ? none : index);
  return {
    left: labels.objects[0],
    right: or(labels.objects[1], judgeHeads.right - 1),
    top: labels.background[0],
    bottom: or(labels.background[1], judgeHeads.bottom - 1),
    style: labels.style,
    size: labels.size,
  };
}

/** Row-wise arg max of logits `[B, classes]`. */
export function argMaxRows(logits: ArrayLike<number>, classes: number): number[] {
  return Array.from({ length: logits.length / classes }, (_, row) => {
    let best = 0;
    for (let i = 1; i < classes; i++) if (logits[row * classes + i]! > logits[row * classes + best]!) best = i;
    return best;
  });
}

/** Every this many-th picture shows a held-out combination. */
const UNSEEN_EVERY = 5;

/**
 * Training the judge on real renders: cross-entropy of every head. It measures pictures of all combinations, so it is trained on all of them, also on those that are held out
 * from every other network (`unseen`: other renders than the ones that measure it, `heldOut`).
 */
export function judgeStage(settings: JudgeSettings, images: EmojiImages, unseen: EmojiImages, heldOut: EmojiImages, backend: Backend, start: ParameterSet = new Map()): Stage {
  const { batch, width } = settings;
  const parameters = judgeParameters(width);
  const image = input("image", [batch, 3, 64, 64]);
  const logits = judge(trainableScope(""), image, width);
  const crossEntropy = (head: JudgeHead): Tensor => {
    const target = oneHot(input(`label:${head}`, [batch], "int32"), judgeHeads[head]);
    return mean(sub(logSumExp(logits[head], 1), sum(mul(logits[head], target), 1)));
  };
  const losses = heads.map(crossEntropy);
  const loss = losses.reduce((a, b) => add(a, b));
  const testCount = 512;
  const test = program(judge(trainableScope(""), input("image", [testCount, 3, 64, 64]), width));
  return {
    name: "judge",
    parameters,
    start,
    optimizer: { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.02, maxGradNorm: 1 },
    learningRate: settings.learningRate,
    warmupSteps: 50,
    averageDecay: 0.99,
    phases: [
      {
        until: 1,
        batch,
        program: trainingProgram(loss, Object.fromEntries(heads.map((head, i) => [`loss_${head}`, losses[i]!])), parameters.map(({ key }) => key)),
        feeds: async (seen) => {
          const count = Math.floor(batch / UNSEEN_EVERY);
          const range = (length: number): number[] => Array.from({ length }, (_, i) => seen + i);
          const [most, rest] = [images.sampleBatch(range(batch - count)), unseen.sampleBatch(range(count))];
          const pixels = new Float32Array(most.pixels.length + rest.pixels.length);
          pixels.set(most.pixels);
          pixels.set(rest.pixels, most.pixels.length);
          const targets = [...most.labels, ...rest.labels].map(judgeTargets);
          return { image: pixels, ...Object.fromEntries(heads.map((head) => [`label:${head}`, Int32Array.from(targets, (target) => target[head])])) };
        },
      },
    ],
    sample: async (average) => {
      const { pixels, labels } = heldOut.sampleBatch(Array.from({ length: testCount }, (_, i) => i));
      const executable = await backend.compile(test);
      const outputs = await executable.run({ ...Object.fromEntries(average), image: pixels });
      await executable.dispose();
      const targets = labels.map(judgeTargets);
      const answers = Object.fromEntries(heads.map((head) => [head, argMaxRows(outputs[head]!.data, judgeHeads[head])])) as Record<JudgeHead, number[]>;
      const isRight = (head: JudgeHead, row: number): boolean => answers[head][row] === targets[row]![head];
      const rows = targets.map((_, row) => row);
      const pairs = rows.filter((row) => labels[row]!.objects[1] >= 0);
      const share = (among: number[], right: (row: number) => boolean): number => among.filter(right).length / among.length;
      return {
        scores: {
          object: share(rows.filter((row) => !pairs.includes(row)), (row) => isRight("left", row)),
          both: share(pairs, (row) => isRight("left", row) && isRight("right", row)),
          background: share(rows, (row) => isRight("top", row) && isRight("bottom", row)),
          style: share(rows, (row) => isRight("style", row)),
          size: share(rows, (row) => isRight("size", row)),
        },
      };
    },
    finish: async (average) =>
      new Map<string, string | Uint8Array>([
        ["judge/config.json", `${JSON.stringify({ kind: "emoji-judge", width }, null, 2)}\n`],
        ["judge/model.safetensors", encodeSafetensors(tensorsOf(average, parameters, ""), new Map([["format", "pt"]]))],
      ]),
  };
}
