import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ddimSteps, lcmSteps, parseSchedulerConfig } from "@tastemaker/diffusion";
import { type HostData, type Tensor, gradients, input, onnxBackend, program, referenceBackend, sum } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";

import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { d3poLoss } from "./d3po.ts";
import { dpokKl, dpokLoss } from "./dpok.ts";
import { ppoLoss, ppoTerms } from "./ppo.ts";
import { type StepPoint, ddimPolicySteps, firstLogRatio, lcmPolicySteps, stepLogProb, stepLogRatio } from "./step-policy.ts";

const root = sharedPath("golden", "diffusion");
const exact = referenceBackend(() => new Float64Array());
const float32 = onnxBackend(ort, { threads: 1 });

/** Results of a small program as plain numbers. */
async function valuesOf<Name extends string>(outputs: Readonly<Record<Name, Tensor>>, feeds: Readonly<Record<string, HostData>>, backend = exact): Promise<Record<Name, number[]>> {
  const executable = await backend.compile(program(outputs));
  try {
    const results = await executable.run(feeds);
    return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, Array.from(data, Number)])) as Record<Name, number[]>;
  } finally {
    await executable.dispose();
  }
}

const row = (name: string, count: number): Tensor => input(name, [count]);

describe("PPO", () => {
  it.skipIf(root === undefined)("has the recorded value and slope on either side of the clip range", async () => {
    const { ppo_scalar: table } = JSON.parse(readFileSync(join(root!, "advantages.json"), "utf8")) as { ppo_scalar: { advantage: number; ratio: number; clip: number; loss: number; dloss_dlogp: number }[] };
    const clips = [...new Set(table.map(({ clip }) => clip))];
    expect(clips).toEqual([0.0001, 0.1]);
    for (const clipRange of clips) {
      const rows = table.filter(({ clip }) => clip === clipRange);
      const logRatio = row("logRatio", rows.length);
      const terms = ppoTerms(logRatio, row("advantages", rows.length), { clipRange });
      const feeds = { logRatio: Float64Array.from(rows, ({ ratio }) => Math.log(ratio)), advantages: Float64Array.from(rows, ({ advantage }) => advantage) };
      const { terms: values, slope } = await valuesOf({ terms, slope: gradients(sum(terms), [logRatio])[0]! }, feeds);
      for (const [i, { loss, dloss_dlogp: expected }] of rows.entries()) {
        expect(values[i]).toBeCloseTo(loss, 12);
        expect(slope[i]).toBeCloseTo(expected, 12);
      }
    }
  });

  it("at the first update has ratio 1, the gradient −A and nothing clipped, in float32", async () => {
    const logProb = row("logProb", 2);
    const { loss, ratio, approxKl, clipFraction } = ppoLoss(firstLogRatio(logProb), row("advantages", 2), { clipRange: 1e-4 });
    const slope = gradients(loss, [logProb])[0]!;
    const values = await valuesOf({ loss, ratio, approxKl, clipFraction, slope }, { logProb: Float64Array.of(-1234.567, 0.25), advantages: Float64Array.of(1.5, -0.5) }, float32);
    expect(values).toEqual({ loss: [-0.5], ratio: [1, 1], approxKl: [0], clipFraction: [0], slope: [-0.75, 0.25] });
  });
});

describe("DPOK", () => {
  const settings = { policyTerm: "clampedRatio", klForm: "gaussian", reduction: "sum", rewardWeight: 10, klWeight: 0.5, clipRange: 0.1 } as const;

  it("lets a ratio outside the clip range have no gradient, whatever the advantage's sign", async () => {
    const logRatio = row("logRatio", 4);
    const { loss, policyTerm } = dpokLoss(settings, { logProb: logRatio, logRatio, advantages: row("advantages", 4), kl: row("kl", 4) });
    const feeds = { logRatio: Float64Array.of(Math.log(2), Math.log(2), Math.log(0.5), 0), advantages: Float64Array.of(1, -1, 1, 1), kl: Float64Array.of(1, 2, 3, 2) };
    const found = await valuesOf({ loss, policyTerm, slope: gradients(loss, [logRatio])[0]! }, feeds);
    expect(found.slope.map((value) => value + 0)).toEqual([0, 0, 0, -2.5]);
    expect(found.policyTerm[0]).toBeCloseTo((-10 * (1.1 - 1.1 + 0.9 + 1)) / 4, 12);
    expect(found.loss[0]).toBeCloseTo(found.policyTerm[0]! + 1, 12);
  });

  it("has a KL in either form", async () => {
    const leaf = (name: string): Tensor => input(name, [1, 1, 1, 2]);
    const point: StepPoint = { sinusoid: input("sinusoid", [1, 2]), meanFromSample: 1, meanFromOutput: 1, noiseFromSample: 0, noiseFromOutput: 1, sigma: 0.5, logNormalizer: 0 };
    const policy = { output: leaf("e"), mean: leaf("m"), epsilon: leaf("e") };
    const reference = { output: leaf("f"), mean: leaf("n"), epsilon: leaf("f") };
    const feeds = { e: Float64Array.of(1, 2), f: Float64Array.of(0, 0), m: Float64Array.of(1, 2), n: Float64Array.of(0, 1) };
    const { gaussian, mean, epsilon } = await valuesOf({ gaussian: dpokKl(settings, policy, reference, point), mean: dpokKl({ ...settings, reduction: "mean" }, policy, reference, point), epsilon: dpokKl({ ...settings, klForm: "epsilonMse" }, policy, reference, point) }, feeds);
    expect([gaussian, mean, epsilon]).toEqual([[4], [2], [2.5]]);
  });
});

describe("D3PO", () => {
  it("is log 2 without a gradient for ties, and pulls a pair apart", async () => {
    const [a, b] = [row("a", 2), row("b", 2)];
    const { lossPerPair, loss } = d3poLoss({ beta: 0.1, clipRange: 0.1 }, { a, b }, { a: row("ha", 2), b: row("hb", 2) });
    const [slopeA, slopeB] = gradients(loss, [a, b]);
    const feeds = { a: Float64Array.of(0.05, 0.05), b: Float64Array.of(-0.02, -0.5), ha: Float64Array.of(0, 1), hb: Float64Array.of(0, -1) };
    const found = await valuesOf({ lossPerPair, slopeA: slopeA!, slopeB: slopeB! }, feeds);
    const margin = 0.1 * (0.05 - Math.log(0.9));
    expect(found.lossPerPair[0]).toBeCloseTo(Math.LN2, 14);
    expect(found.lossPerPair[1]).toBeCloseTo(Math.log1p(Math.exp(-margin)), 14);
    expect(found.slopeA[0]! + 0).toBe(0);
    expect(found.slopeA[1]).toBeCloseTo(-0.05 / (1 + Math.exp(margin)), 14);
    expect(found.slopeB.map((value) => value + 0)).toEqual([0, 0]);
  });
});

describe("a step as a policy", () => {
  const count = 16_384;
  const leaf = (name: string): Tensor => input(name, [1, 4, 64, 64]);
  const point: StepPoint = { sinusoid: input("sinusoid", [1, 2]), meanFromSample: 1, meanFromOutput: 1, noiseFromSample: 0, noiseFromOutput: 1, sigma: 0.3, logNormalizer: -Math.log(0.3) - 0.5 * Math.log(2 * Math.PI) };

  it("has a log-ratio from the means that keeps its digits in float32, and is exactly 0 for equal means", async () => {
    const wave = (frequency: number, size: number): Float32Array => Float32Array.from({ length: count }, (_, i) => size * Math.sin(i * frequency));
    const [next, near] = [wave(0.37, 1), wave(0.61, 0.8)];
    const moved = near.map((value, i) => value + 1e-4 * Math.cos(i * 0.13));
    const [xNext, mean, other] = [leaf("next"), leaf("mean"), leaf("other")];
    const outputs = { ratio: stepLogRatio(xNext, { mean }, { mean: other }, point, "sum"), a: stepLogProb(xNext, { mean }, point, "sum"), b: stepLogProb(xNext, { mean: other }, point, "sum") };
    const feeds = { next, mean: moved, other: near };
    const truth = await valuesOf(outputs, feeds);
    expect(truth.ratio[0]).toBeCloseTo(truth.a[0]! - truth.b[0]!, 8);
    const rounded = await valuesOf(outputs, feeds, float32);
    const error = (value: number): number => Math.abs(value - truth.ratio[0]!);
    expect(error(rounded.ratio[0]!)).toBeLessThan(1e-4 * Math.abs(truth.ratio[0]!) + 1e-6);
    expect((await valuesOf(outputs, { next, mean: near, other: near }, float32)).ratio.map((value) => value + 0)).toEqual([0]);
  });

  it("exists for the steps that add noise", () => {
    const scheduler = parseSchedulerConfig({ _class_name: "LCMScheduler" });
    const schedule = lcmSteps(scheduler, 4);
    const steps = lcmPolicySteps(scheduler, schedule);
    expect(steps.map(({ timestep }) => timestep)).toEqual([999, 759, 499]);
    expect(steps.map(({ sigma }) => sigma)).toEqual(schedule.slice(1).map(({ sigma }) => sigma));
    const last = lcmPolicySteps(scheduler, schedule, true)[3]!;
    expect([last.timestep, last.sigma, last.meanFromOutput]).toEqual([259, schedule[3]!.sigma, schedule[3]!.a * schedule[3]!.fromOutput]);
    const ddim = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", steps_offset: 1 };
    const stable = parseSchedulerConfig({ ...ddim, set_alpha_to_one: false });
    const sigmas = ddimPolicySteps(stable, ddimSteps(stable, 20, 1)).map(({ sigma }) => Number(sigma.toFixed(6)));
    expect([sigmas.length, sigmas[0], sigmas[1], sigmas[18], sigmas[19]]).toEqual([20, 0.644391, 0.624104, 0.040597, 0.020648]);
    const toOne = parseSchedulerConfig({ ...ddim, set_alpha_to_one: true });
    expect(ddimPolicySteps(toOne, ddimSteps(toOne, 20, 1))).toHaveLength(19);
    expect(ddimPolicySteps(stable, ddimSteps(stable, 20, 0))).toEqual([]);
  });
});
