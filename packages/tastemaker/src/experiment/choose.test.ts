import { describe, expect, it } from "vitest";
import type { MetricsLine } from "../report/report-data.ts";
import { budgets } from "./budget.ts";
import type { Calibration } from "./calibration.ts";
import { medianOf, timesOf, withTimesOfAlike } from "./calibrate.ts";
import { chooseBetas, chooseLearningRates, rewardSpreads, searchCandidates } from "./choose.ts";
import { finalHeldOutGain } from "./choose-beta.ts";
import { roundedJson } from "./files.ts";
import { makeRecord } from "./make-record.ts";
import { searchTrials, sweepRuns } from "./plan.ts";
import { shellLine, trainArguments } from "./run-command.ts";
import type { BaseRecord, PromptScores, RunRecord, RunSpec } from "./run-record.ts";

const environment = { tastemaker: "0", node: "0", onnxruntime: "0", platform: "x", cpu: "x", cores: 2, memoryBytes: 1, threads: 1 };
const calibration: Calibration = { format: "tastemaker-experiment-calibration/1", environment, jobs: 2, load: 0, secondsPerIteration: { "rocm-kl": 1, rlcm: 2 }, startSeconds: {}, pictureSeconds: {} };
const budget = { ...budgets.standard, trainSeconds: 4, rewards: ["pick-score", "aesthetic"], betas: [1, 3, 10, 30, 100] } as const;

const numbers: Omit<MetricsLine, "iteration"> = { reward: 0, rewards: {}, divergence: 0.25, beta: 3, loss: 0, gradNorm: 1 };
const looks = (before: PromptScores, after: readonly (readonly [number, PromptScores])[], best = 4): MetricsLine[] => [
  { iteration: 1, ...numbers, promptScoresBefore: before },
  ...after.map(([iteration, promptScores]) => ({ iteration, ...numbers, promptScores, best })),
];
const record = (spec: RunSpec, lines: readonly MetricsLine[], final: PromptScores | null = null): RunRecord => makeRecord(spec, lines, { command: "", environment, secondsPerIteration: calibration.secondsPerIteration[spec.method]!, final, watch: { action: "warn", falseAlarms: 0.05, minimumDrop: 0.2, looks: 2 } });

describe("the record of a run", () => {
  const [spec] = searchTrials(budget, calibration, "pick-score", "rlcm");
  const made = record(spec!, looks({ "pick-score": [1, 2, 3] }, [[1, { "pick-score": [2, 3, 4] }], [2, { "pick-score": [2, 4, 6] }]]));

  it("has the gains over the base model with errors of the differences, not of the values", () => {
    expect(made.curve.map(({ iteration, trainSeconds, rewardEvaluations }) => [iteration, trainSeconds, rewardEvaluations])).toEqual([[0, 0, 0], [1, 2, 8], [2, 4, 16]]);
    expect(made.curve[0]!.scores["pick-score"]).toEqual({ mean: 2, standardError: expect.closeTo(1 / Math.sqrt(3), 12), gain: 0, gainStandardError: 0 });
    expect(made.curve[1]!.scores["pick-score"]).toMatchObject({ mean: 3, gain: 1, gainStandardError: 0 });
    // Differences 1, 2, 3.
    expect(made.curve[2]!.scores["pick-score"]).toMatchObject({ mean: 4, gain: 2 });
    expect(made.curve[2]!.scores["pick-score"]!.gainStandardError).toBeCloseTo(1 / Math.sqrt(3), 12);
    expect(made).toMatchObject({ bestIteration: 2, watchFiredAt: null, lastDivergence: 0.25, lastBeta: 3, rewardEvaluationsPerIteration: 8 });
  });

  it("calls a checkpoint the best, and a run over-optimised, without looking at what stands for people", () => {
    const scores = (reward: number, other: number, gold: number): PromptScores => Object.fromEntries(Object.entries({ "pick-score": reward, hpsv2: other, gold, "gold-appeal": gold, judge: gold }).map(([name, shift]) => [name, Array.from({ length: 64 }, (_, index) => shift + Math.sin(index + shift))]));
    // The reward rises, and one of the others falls for two evaluations.
    const of = (other: number, gold: number): RunRecord => record({ ...spec!, iterations: 3, settings: { "evaluation.every": 1 } }, looks(scores(0, 0, 0), [1, 2, 3].map((look) => [look, scores(look, other * look, gold * look)] as const)));
    expect(of(0, -1)).toMatchObject({ bestIteration: 3, watchFiredAt: null });
    expect(of(-1, 0)).toMatchObject({ bestIteration: 1, watchFiredAt: 2 });
  });

  it("keeps five digits of fractions and all of whole numbers", () => {
    expect(roundedJson({ a: 0.123456789, b: 1234567, c: [1234.5678], d: null })).toBe('{"a":0.12346,"b":1234567,"c":[1234.6],"d":null}\n');
  });

  it("says a command that a shell reads back", () => {
    const line = shellLine(trainArguments({ ...spec!, settings: { ...spec!.settings, prompts: ["a dog's house"] } }, "runs/x"));
    expect(line).toContain(`--set 'prompts=["a dog'\\''s house"]'`);
    expect(line).toMatch(/^tastemaker train --objective rlcm --model emoji --threads 1 --learning-rate 0.0002 --seed 0 --iterations 2 --set /);
  });
});

describe("choosing learning rates", () => {
  /** Trials whose gain in the reward is as given; null: broke off after its first look. */
  const trials = (gains: readonly (number | null)[]): Map<string, RunRecord> =>
    new Map(
      searchTrials(budget, calibration, "pick-score", "rlcm").map((spec, index) => {
        const gain = gains[index];
        const after: [number, PromptScores][] = gain === null ? [[1, { "pick-score": [9, 9] }]] : [[1, { "pick-score": [9, 9] }], [2, { "pick-score": [gain!, 1 + gain!] }]];
        return [spec.id, record(spec, looks({ "pick-score": [0, 1] }, after))];
      }),
    );

  it("takes the highest gain at the end, for rewards that were not searched too", () => {
    const rates = chooseLearningRates(budget, calibration, trials([0.1, 0.5, 0.4, -2]), ["rlcm"]);
    expect(rates).toEqual({ "pick-score": { rlcm: 1e-3 }, aesthetic: { rlcm: 1e-3 } });
  });

  it("takes the highest mean gain in the metrics that are not trained on where a budget asks for it", () => {
    // In standard errors of the untrained model's mean: .5 for aesthetic (spread 2), −1 to 4 for hpsv2 (spread .2); what stands for people does not count.
    const ends = [{ aesthetic: 0.5, hpsv2: 0.1 }, { aesthetic: 0.5, hpsv2: 0.4 }, { aesthetic: 0.5, hpsv2: -0.1 }, { aesthetic: 0.5, hpsv2: 0.2 }];
    const before = { "pick-score": [0, 1], aesthetic: [0, 2], hpsv2: [0, 0.2], gold: [0, 1] };
    const made = new Map(
      searchTrials(budget, calibration, "pick-score", "rlcm").map((spec, index) => {
        const { aesthetic, hpsv2 } = ends[index]!;
        const after = { "pick-score": [index, index + 1], aesthetic: [aesthetic, 2 + aesthetic], hpsv2: [hpsv2, 0.2 + hpsv2], gold: [-9 * index, 1 - 9 * index] };
        return [spec.id, record(spec, looks(before, [[2, after]]))];
      }),
    );
    expect(chooseLearningRates({ ...budget, searchBy: "held-out" }, calibration, made, ["rlcm"])?.["pick-score"]).toEqual({ rlcm: 1e-3 });
    expect(searchCandidates({ ...budget, searchBy: "held-out" }, calibration, made, "pick-score", "rlcm")!.map(({ score }) => score)).toEqual([0.75, 2.25, -0.25, 1.25].map((score) => expect.closeTo(score, 12) as number));
    expect(chooseLearningRates(budget, calibration, made, ["rlcm"])?.["pick-score"]).toEqual({ rlcm: 2.5e-2 });
  });

  it("lets a trial that broke off lose, whatever it had reached", () => {
    expect(chooseLearningRates(budget, calibration, trials([-3, null, null, null]), ["rlcm"])?.["pick-score"]).toEqual({ rlcm: 2e-4 });
    expect(chooseLearningRates(budget, calibration, trials([null, null, null, null]), ["rlcm"])?.["pick-score"]).toEqual({});
  });

  it("waits for all trials", () => {
    const some = trials([1, 2, 3, 4]);
    some.delete([...some.keys()][2]!);
    expect(chooseLearningRates(budget, calibration, some, ["rlcm"])).toBeUndefined();
  });
});

describe("choosing betas", () => {
  const base: BaseRecord = { format: "tastemaker-experiment-base/1", environment, prompts: ["a", "b"], scores: { emoji: { "pick-score": [0, 2], aesthetic: [0, 1], "clip-score": [0, 0.02], gold: [0, 1] }, "emoji-teacher": {} } };
  const rates = { "pick-score": { rocm: 1e-3 }, aesthetic: {}, hpsv2: {}, "clip-score": {} };
  const spreads = rewardSpreads(budget, base);
  const specs = sweepRuns(budget, calibration, "pick-score", "rocm-kl", spreads["pick-score"]!, 1e-3);
  const final = (pick: number, aesthetic: number, clip: number, gold: number): PromptScores => ({ "pick-score": [pick, pick], aesthetic: [aesthetic, aesthetic + 1], "clip-score": [clip, clip + 0.02], gold: [gold, gold + 1] });

  it("measures them in the spread of the reward", () => {
    expect(spreads["pick-score"]).toBeCloseTo(Math.SQRT2, 12);
    expect(specs.map(({ beta }) => beta)).toEqual([1.4, 4.2, 14, 42, 140]);
  });

  it("judges by the metrics that are neither trained on nor gold, each in its own spread", () => {
    const [first] = specs;
    // Aesthetic +.5 of a spread of .7071, clip-score −.01 of .01414: both .7071, of opposite sign.
    expect(finalHeldOutGain(record(first!, [], final(100, 0.5, -0.01, 50)), base)).toBeCloseTo(0, 12);
    const finals = [final(9, 0, 0, 9), final(8, 0, 0.01, 8), final(7, 0.6, 0.01, 0), final(6, 0.6, 0, 0), final(5, 0, 0, 0)];
    const records = new Map(specs.map((spec, index) => [spec.id, record(spec, [], finals[index]!)]));
    expect(chooseBetas(budget, calibration, base, rates, records)).toEqual({ "pick-score": { "rocm-kl": 14 } });
    records.delete(specs[0]!.id);
    expect(chooseBetas(budget, calibration, base, rates, records)).toEqual({});
  });
});

it("divergences have one time, also where KL was timed alone before", () => {
  const before: Calibration = { ...calibration, secondsPerIteration: { "rocm-kl": 1, rlcm: 2 }, startSeconds: { "rocm-kl": 3 }, pictureSeconds: { "rocm-kl": 4 } };
  const { secondsPerIteration, startSeconds, pictureSeconds } = withTimesOfAlike(before, ["rocm-js", "rocm-fisher", "rocm-none", "ddpo"]);
  expect(secondsPerIteration).toEqual({ "rocm-kl": 1, rlcm: 2, "rocm-js": 1, "rocm-fisher": 1 });
  expect([startSeconds, pictureSeconds]).toEqual([{ "rocm-kl": 3, "rocm-js": 3, "rocm-fisher": 3 }, { "rocm-kl": 4, "rocm-js": 4, "rocm-fisher": 4 }]);
});

it("a calibration's times are those of iterations without evaluations", () => {
  // The first warms up and scores the base model, the last scores 8 pictures.
  expect(timesOf([9, 1.2, 1, 1.1, 5.1], 20)).toEqual({ iteration: 1.1, picture: expect.closeTo(0.5, 12), start: expect.closeTo(6.5, 12) });
  expect([medianOf([3, 1, 2]), medianOf([4, 1])]).toEqual([2, 2.5]);
});
