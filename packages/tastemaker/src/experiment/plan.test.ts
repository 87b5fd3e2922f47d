import { describe, expect, it } from "vitest";
import { resolveTrainConfig } from "../config/load-config.ts";
import { objects } from "../worlds/emoji/vocabulary.ts";
import { animalWords, type Budget, budgets } from "./budget.ts";
import type { Calibration } from "./calibration.ts";
import { checkOwnSettings } from "./own-settings.ts";
import { betaOf, neededMethods, neededRates, planOutline, planPaper, publishedRates, rewardEvaluationsOf, type SearchResult, type SweepResult } from "./plan.ts";
import { divergenceMethods, methods, type RunSpec, trainedRewards } from "./run-record.ts";
import { everything, searched, type Selection } from "./selection.ts";

const calibration: Calibration = {
  format: "tastemaker-experiment-calibration/1",
  environment: { tastemaker: "0", node: "0", onnxruntime: "0", platform: "x", cpu: "x", cores: 2, memoryBytes: 1, threads: 1 },
  jobs: 2,
  load: 0,
  secondsPerIteration: Object.fromEntries(methods.map((method, index) => [method, 0.9 + index / 2])),
  startSeconds: {},
  pictureSeconds: {},
};
const spreads = { "pick-score": 2, hpsv2: 0.1, "clip-score": 0.04, aesthetic: 1 };
const search = Object.fromEntries(trainedRewards.map((reward) => [reward, publishedRates])) as SearchResult;
const budget: Budget = budgets.standard;
const sweep = Object.fromEntries(trainedRewards.map((reward) => [reward, Object.fromEntries(divergenceMethods.map((method) => [method, betaOf(method, 5, spreads[reward])]))])) as SweepResult;
const full = planPaper(budget, calibration, spreads, search, sweep);
const of = (specs: readonly RunSpec[], part: string): RunSpec[] => specs.filter((spec) => spec.part === part);

describe("the plan of the paper", () => {
  it("begins with the search alone, of as many trials for every method", () => {
    const first = planPaper(budget, calibration, spreads, undefined, undefined);
    expect(new Set(first.map(({ part }) => part))).toEqual(new Set(["search"]));
    const counts = searched.map((name) => first.filter(({ id }) => id.startsWith(`search/pick-score/${name}/`)).length);
    expect(counts).toEqual(searched.map(() => 4));
    expect(first).toHaveLength(20);
    for (const [index, name] of searched.entries()) expect(first[4 * index]!.learningRate, name).toBe(2 * publishedRates[name]);
  });

  it("adds what needs no beta when the learning rates are known, and the rest when the betas are", () => {
    const second = planPaper(budget, calibration, spreads, search, undefined);
    expect(of(second, "sweep")).toHaveLength(4 * 4 * 4);
    expect(of(second, "auto")).toHaveLength(4 * 4);
    expect(new Set(of(second, "main").map(({ method }) => method))).toEqual(new Set(["rocm-none", "rlcm", "ddpo", "d3po", "dpok"]));
    // Of the rows with a beta, the first seed is the sweep's.
    expect(new Set(divergenceMethods.map((method) => of(second, "sweep").filter((spec) => spec.method === method).length))).toEqual(new Set([4 * 4]));
    expect(of(full, "main")).toHaveLength(4 * (5 * 3 + 4 * 2));
    expect(of(full, "animals").map(({ method }) => method)).toEqual(["rocm-none", "rocm-js", "rocm-kl", "rocm-hellinger", "rocm-fisher"]);
    expect(full.slice(0, second.length).filter(({ part }) => part === "search" || part === "sweep")).toEqual(second.filter(({ part }) => part === "search" || part === "sweep"));
  });

  it("names every run once and is the same every time", () => {
    expect(new Set(full.map(({ id }) => id)).size).toBe(full.length);
    expect(planPaper(budget, calibration, spreads, search, sweep)).toEqual(full);
    for (const { id } of full) expect(id).toMatch(/^[\w.-]+(?:\/[\w.-]+)+$/);
  });

  it("says as much beforehand as there will be", () => {
    const counts = (specs: readonly RunSpec[]): unknown => ["search", "sweep", "main", "auto", "animals"].map((part) => of(specs, part).length);
    expect(counts(planOutline(budget, calibration))).toEqual(counts(full));
  });

  it("gives every method the same training time, and evaluates it on what it is not trained on", () => {
    for (const spec of full) {
      const seconds = calibration.secondsPerIteration[spec.method]!;
      expect(Math.abs(spec.iterations * seconds - budget.trainSeconds), spec.id).toBeLessThanOrEqual(seconds / 2);
      expect(spec.settings["evaluation.metrics"], spec.id).not.toContain(spec.reward);
      expect(Math.ceil(spec.iterations / Number(spec.settings["evaluation.every"])), spec.id).toBeLessThanOrEqual(budget.looks);
      expect(Object.keys(spec.settings), spec.id).toEqual(Object.keys(spec.settings).sort());
      expect(spec.settings["threads"]).toBe(1);
    }
  });

  it("consists of configurations that training accepts", () => {
    for (const { id, settings, learningRate, seed, iterations, beta } of full) {
      const given = { ...settings, learningRate, seed, iterations, ...(beta === null ? {} : { beta }) };
      const config = resolveTrainConfig(undefined, Object.entries(given).map(([path, value]) => ({ path, value, option: path })));
      expect(config, id).toMatchObject({ learningRate, seed, iterations, threads: 1 });
    }
  });

  it("refuses all that it sets itself as settings of a budget", () => {
    for (const path of new Set(full.flatMap(({ settings }) => Object.keys(settings)))) expect(() => checkOwnSettings({ [path]: 1 }, "a budget", "world"), path).toThrow(`got "${path}"`);
  });

  it("chooses rates on another seed than the tables have", () => {
    const seeds = (part: string): number[] => [...new Set(of(full, part).map(({ seed }) => seed))].sort();
    expect([seeds("search"), seeds("sweep"), seeds("main")]).toEqual([[0], [1], [1, 2, 3]]);
  });

  it("sweeps the other divergences at the curvature of KL", () => {
    // dD/ds at 0: KL 1/2, Hellinger and JS 1/8 (the specification's table).
    expect([betaOf("rocm-kl", 3, 2), betaOf("rocm-js", 3, 2), betaOf("rocm-hellinger", 3, 2)]).toEqual([6, 24, 24]);
  });
});

describe("a budget in which methods get more than others", () => {
  const race = planPaper(budgets.race, calibration, spreads, search, sweep, { ...everything, methods: budgets.race.methods! });

  it("trains them for longer, with their own settings, and the others as ever", () => {
    for (const { id, method, iterations, settings } of race) {
      const seconds = calibration.secondsPerIteration[method]!;
      const times = { "rocm-kl": 1, rlcm: 8, ddpo: 20 }[method as "rocm-kl" | "rlcm" | "ddpo"];
      expect(Math.abs(iterations * seconds - 45 * times), id).toBeLessThanOrEqual(seconds / 2);
      expect([settings["policy.samplesPerIteration"], settings["policy.picturesPerPrompt"], settings["batchSize"]], id).toEqual(method === "rocm-kl" ? [undefined, undefined, 4] : [64, 8, 32]);
      expect(rewardEvaluationsOf({ settings }), id).toBe(method === "rocm-kl" ? 4 : 64);
    }
    expect(new Set(race.map(({ method }) => method))).toEqual(new Set(budgets.race.methods));
  });

  it("consists of configurations that training accepts", () => {
    for (const { id, settings, learningRate, seed, iterations } of race) {
      const given = { ...settings, learningRate, seed, iterations };
      expect(resolveTrainConfig(undefined, Object.entries(given).map(([path, value]) => ({ path, value, option: path }))), id).toMatchObject({ iterations });
    }
  });
});

describe("a selection", () => {
  const plan = (selection: Partial<Selection>): RunSpec[] => planPaper(budget, calibration, spreads, search, sweep, { ...everything, ...selection });
  const partsOf = (specs: readonly RunSpec[]): string[] => [...new Set(specs.map(({ part }) => part))];

  it("takes the search and the sweep along where a table needs them", () => {
    const table = plan({ targets: ["table1"], rewards: ["aesthetic"], methods: ["rocm-kl", "ddpo"] });
    expect(partsOf(table)).toEqual(["search", "sweep", "main"]);
    expect(new Set(table.map(({ method }) => method))).toEqual(new Set(["rocm-kl", "ddpo"]));
    // Rates come from the budget's reward whichever are asked for, so that a piece is a piece of the whole.
    expect(new Set(of(table, "search").map(({ reward }) => reward))).toEqual(new Set(["pick-score"]));
    for (const spec of table) expect(full).toContainEqual(spec);
  });

  it("makes only KL's sweep for figure 4, and nothing but the search for the search", () => {
    const figure = plan({ targets: ["fig4"] });
    expect(partsOf(figure)).toEqual(["search", "sweep"]);
    expect(new Set(of(figure, "sweep").map(({ method }) => method))).toEqual(new Set(["rocm-kl"]));
    expect(neededMethods(budget, { ...everything, targets: ["fig4"] })).toEqual(["rocm-kl"]);
    expect(partsOf(plan({ targets: ["search"] }))).toEqual(["search"]);
  });

  it("trains nothing for the table of the base models", () => {
    expect(plan({ targets: ["table4"] })).toEqual([]);
    expect(neededRates(budget, { ...everything, targets: ["table4"] })).toEqual([]);
  });

  it("searches ROCM with KL also for a row that has no divergence", () => {
    expect(neededMethods(budget, { ...everything, targets: ["table1"], methods: ["rocm-none"] })).toEqual(["rocm-none", "rocm-kl"]);
  });
});

it("the animals are words of the world", () => {
  expect(objects.map(({ word }) => word).filter((word) => (animalWords as readonly string[]).includes(word))).toEqual(animalWords);
  expect(budget.world.animals).toContain("an octopus");
});
