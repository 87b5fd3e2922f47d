import { describe, expect, it } from "vitest";
import { divergenceNoise, planSamples } from "./batch-plan.ts";

const prompts = ["a", "b", "c", "d", "e"];
const options = { seed: 3, latentShape: [1, 2, 2], steps: 3 };

describe("samples of a run", () => {
  it("come once per pass through the prompts, in a new order each time", () => {
    const order = planSamples(prompts, 0, 20, options).map(({ prompt }) => prompt);
    const passes = [0, 5, 10, 15].map((start) => order.slice(start, start + 5));
    for (const pass of passes) expect([...pass].sort()).toEqual(prompts);
    expect(new Set(passes.map((pass) => pass.join(""))).size).toBeGreaterThan(1);
  });

  it("do not depend on how many are planned together", () => {
    const together = planSamples(prompts, 0, 8, options);
    const apart = Array.from({ length: 8 }, (_, index) => planSamples(prompts, index, 1, options)[0]);
    expect(apart).toEqual(together);
  });

  it("come several times after each other where a prompt is to have several pictures, with noise of their own", () => {
    const [single, grouped] = [planSamples(prompts, 0, 10, options), planSamples(prompts, 0, 30, { ...options, picturesPerPrompt: 3 })];
    expect(grouped.map(({ prompt }) => prompt)).toEqual(single.flatMap(({ prompt }) => [prompt, prompt, prompt]));
    expect(new Set(grouped.map(({ noise }) => noise.latent.join())).size).toBe(30);
    expect(grouped.map(({ index }) => index)).toEqual(Array.from({ length: 30 }, (_, index) => index));
  });

  it("have noise of their own for every draw and step of the sampled divergence", () => {
    const samples = planSamples(prompts, 4, 2, options);
    const both = divergenceNoise(samples, 2, options);
    expect(both).toHaveLength(2 * 2 * 2 * 4);
    expect(new Set(both).size).toBe(both.length);
    const second = divergenceNoise(samples.slice(1), 2, options);
    // Rows of [draw, step, sample]: the second sample's are every other one.
    const rows = Array.from({ length: 4 }, (_, row) => [...both.subarray((2 * row + 1) * 4, (2 * row + 2) * 4)]).flat();
    expect(rows).toEqual([...second]);
  });
});
