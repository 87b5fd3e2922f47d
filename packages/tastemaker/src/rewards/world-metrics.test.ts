import { pictureOf } from "@tastemaker/diffusion";
import { describe, expect, it } from "vitest";
import { openMetrics } from "../evaluate/metric-list.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { openOtherRewards, openReward } from "./open-reward.ts";
import { openWorldMetric, openWorldMetrics, worldMetricNames } from "./world-metrics.ts";

const backend = nodeBackend({ threads: 1 });
const prompts = ["a fox on a blue background", "an owl, flat style"];
const picture = pictureOf(new Float32Array(3 * 64 * 64).fill(0.5), 64, 64);

describe("the world's metrics", () => {
  it("show the judge unasked, and the gold preference only by name", async () => {
    const usual = await openWorldMetrics(prompts, backend);
    expect(usual.map(({ name }) => name)).toEqual(["judge"]);
    for (const metric of usual) await metric.dispose();
    expect(worldMetricNames).toEqual(["judge", "gold", "gold-appeal"]);
    const others = await openOtherRewards("emoji", [], backend);
    expect(others.map(({ name }) => name).filter((name) => worldMetricNames.includes(name))).toEqual([]);
    for (const metric of others) await metric.dispose();
  });

  it("agree with each other: a picture of nothing is liked less than it appeals, by what its prompt says", async () => {
    const scores: Record<string, readonly number[]> = {};
    for (const name of worldMetricNames) {
      const metric = (await openWorldMetric(name, prompts, backend))!;
      scores[name] = await metric.score([picture, picture], prompts);
      await metric.dispose();
    }
    for (const row of [0, 1]) expect(scores["gold-appeal"]![row]! - scores["gold"]![row]!).toBeGreaterThan(5);
    for (const row of [0, 1]) expect(scores["gold-appeal"]![row]! - scores["gold"]![row]!).toBeLessThanOrEqual(8);
    // A gray square is neither.
    expect(Math.max(...scores["judge"]!)).toBeLessThan(0.1);
  });

  it("are for prompts of the world's grammar", async () => {
    expect(await openWorldMetric("gold", ["a photograph of a harbour"], backend)).toBeUndefined();
    expect(await openWorldMetrics(["a photograph of a harbour"], backend)).toEqual([]);
  });

  it("judge the pictures of both of the world's models", async () => {
    for (const model of ["emoji", "emoji-teacher"]) {
      const opened = await openMetrics({ all: false, named: [{ name: "gold" }] }, model, prompts, backend, {});
      expect(opened.map(({ metric }) => metric.name)).toEqual(["gold"]);
      for (const { metric } of opened) await metric.dispose();
    }
    await expect(openMetrics({ all: false, named: [{ name: "gold" }] }, "another", prompts, backend, {})).rejects.toThrow(/got the model another/);
  });

  it("cannot be trained on", async () => {
    for (const name of worldMetricNames) await expect(openReward({ name }, backend, "emoji")).rejects.toThrow(/reward: expected one of pick-score.*got "/);
  });
});
