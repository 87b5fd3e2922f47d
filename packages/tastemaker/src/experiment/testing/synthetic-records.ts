import { normal } from "@tastemaker/tensor";
import { type BaseRecord, baseOf, goldMetrics, type Method, paperMetrics, type Part, type RunRecord, type TrainedReward } from "../run-record.ts";

/** Every metric of a record. */
export const syntheticMetrics: readonly string[] = [...paperMetrics, ...goldMetrics];

const environment = { tastemaker: "0.0.0", node: "0", onnxruntime: "0", platform: "test", cpu: "test processor", cores: 1, memoryBytes: 1, threads: 1, commit: "0123456789abcdef" };

/** Prompts behind each number of a synthetic curve. */
const curvePrompts = 64;

/** Base scores: normal with mean 1 and standard deviation 1 for every metric and model. */
export function syntheticBase(prompts: number, seed = 0): BaseRecord {
  const scores = (model: string): Record<string, number[]> => Object.fromEntries(syntheticMetrics.map((metric, index) => [metric, [...normal({ seed, stream: `synthetic/base/${model}`, indices: [index] }, prompts)].map((z) => 1 + z)]));
  return { format: "tastemaker-experiment-base/1", environment, prompts: Array.from({ length: prompts }, (_, index) => `prompt ${index}`), scores: { emoji: scores("emoji"), "emoji-teacher": scores("emoji-teacher") } };
}

export interface SyntheticRun {
  readonly reward?: TrainedReward;
  readonly method?: Method;
  readonly part?: Part;
  readonly beta?: number | "auto" | null;
  readonly seed?: number;
  readonly iterations?: number;
  readonly secondsPerIteration?: number;
  readonly rewardEvaluationsPerIteration?: number;
  /** True gain of a metric at the end, in standard deviations of the base. */
  readonly effect?: (metric: string) => number;
  /** Gain of a metric at a share of training, as a multiple of `effect`. */
  readonly shape?: (share: number, metric: string) => number;
  /** Standard deviation of the whole gain between seeds. */
  readonly seedSpread?: number;
  /** Standard deviation of a single prompt's gain. */
  readonly promptSpread?: number;
  /** Whether the curve has the error of its prompts; without, it is the truth plus the seed's own part. */
  readonly isCurveNoisy?: boolean;
  /** Draws of everything; runs of one world that differ in method, beta, reward or seed are independent. */
  readonly world?: number;
  readonly watchFiredAt?: number | null;
  readonly bestIteration?: number | null;
}

/** A record whose true effects are known. */
export function syntheticRun(base: BaseRecord, run: SyntheticRun): RunRecord {
  const { reward = "pick-score", method = "rocm-none", part = "main", beta = null, seed = 1, iterations = 100, secondsPerIteration = 1, rewardEvaluationsPerIteration = 4, world = 0 } = run;
  const { effect = () => 0, shape = (share) => share, seedSpread = 0, promptSpread = 1, isCurveNoisy = true, watchFiredAt = null, bestIteration = null } = run;
  const id = `${part}/${reward}/${method}/${beta === null ? "" : `beta-${beta}/`}seed-${seed}`;
  const before = base.scores[baseOf(method)];
  const of = (kind: string, index: number, count: number): number[] => [...normal({ seed: world, stream: `synthetic/${kind}/${reward}/${method}/${beta ?? "none"}`, indices: [seed, index] }, count)];
  const own = of("seed", 0, syntheticMetrics.length).map((z) => seedSpread * z);
  const final = Object.fromEntries(
    syntheticMetrics.map((metric, index) => {
      const noise = of("prompt", index, base.prompts.length);
      return [metric, before[metric]!.map((score, prompt) => score + effect(metric) + own[index]! + promptSpread * noise[prompt]!)];
    }),
  );
  const error = promptSpread / Math.sqrt(curvePrompts);
  const points = 11;
  const curve = Array.from({ length: points }, (_, point) => {
    const share = point / (points - 1);
    const scores = Object.fromEntries(
      syntheticMetrics.map((metric, index) => {
        const noise = isCurveNoisy && point > 0 ? error * of("curve", 100 * index + point, 1)[0]! : 0;
        const gain = point === 0 ? 0 : (effect(metric) + own[index]!) * shape(share, metric) + noise;
        return [metric, { mean: 1 + gain, standardError: 1 / Math.sqrt(curvePrompts), gain, gainStandardError: point === 0 ? 0 : error }];
      }),
    );
    const iteration = Math.round(share * iterations);
    return { iteration, trainSeconds: iteration * secondsPerIteration, rewardEvaluations: iteration * rewardEvaluationsPerIteration, scores };
  });
  return {
    format: "tastemaker-experiment-run/1",
    spec: { id, part, reward, method, beta, learningRate: 1e-4, seed, iterations, isScored: true, settings: {} },
    command: `tastemaker train --seed ${seed}`,
    environment,
    secondsPerIteration,
    rewardEvaluationsPerIteration,
    curve,
    final,
    watchFiredAt,
    bestIteration,
    lastDivergence: 1,
    lastBeta: typeof beta === "number" ? beta : 0,
  };
}
