import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { type AdvantageSettings, type PromptStatistics, advantagesOf, statisticsFromJson, statisticsToJson } from "./prompt-statistics.ts";

const root = sharedPath("golden", "diffusion");
const settings: AdvantageSettings = { buffer: 3, minimum: 2, limit: 10 };
const none: PromptStatistics = new Map();

interface RecordedCase extends AdvantageSettings {
  readonly batches: readonly { readonly prompts: readonly string[]; readonly rewards: readonly number[]; readonly advantages: readonly number[] }[];
}

describe("per-prompt statistics", () => {
  it.skipIf(root === undefined)("give the recorded advantages, also when the state is stored after every batch", () => {
    const { cases } = JSON.parse(readFileSync(join(root!, "advantages.json"), "utf8")) as { cases: readonly RecordedCase[] };
    expect(cases.length).toBeGreaterThan(2);
    for (const { buffer, minimum, limit, batches } of cases) {
      let statistics = none;
      for (const { prompts, rewards, advantages } of batches) {
        const found = advantagesOf(statistics, prompts, rewards, { buffer, minimum, limit });
        expect(found.advantages).toHaveLength(advantages.length);
        for (const [i, value] of found.advantages.entries()) expect(Math.abs(value - advantages[i]!)).toBeLessThan(1e-12);
        statistics = statisticsFromJson(JSON.parse(JSON.stringify(statisticsToJson(found.statistics))), { buffer }, "here");
      }
    }
  });

  it("leave the state before as it was and keep the last rewards only", () => {
    const first = advantagesOf(none, ["__proto__", "__proto__"], [1, 2], settings).statistics;
    const second = advantagesOf(first, ["__proto__", "b", "__proto__"], Float32Array.of(3, 0, 4), settings).statistics;
    expect([...none, ...first]).toEqual([["__proto__", [1, 2]]]);
    expect([...second]).toEqual([["__proto__", [2, 3, 4]], ["b", [0]]]);
    expect([...statisticsFromJson(JSON.parse(JSON.stringify(statisticsToJson(second))), settings, "here")]).toEqual([...second]);
  });

  it("are those of the batch while a prompt has too few rewards", () => {
    const { advantages } = advantagesOf(none, ["a", "b"], [1, 3], settings);
    expect([...advantages].map((value) => value.toFixed(5))).toEqual(["-1.00000", "1.00000"]);
    expect([...advantagesOf(none, ["a"], [7], settings).advantages]).toEqual([0]);
  });

  it("refuse what they cannot work with", () => {
    expect(() => advantagesOf(none, ["a"], [1, 2], settings)).toThrow(/got 1 prompts and 2 rewards/);
    expect(() => advantagesOf(none, [], [], settings)).toThrow(/at least one reward/);
    expect(() => advantagesOf(none, ["a", "b"], [1, Number.NaN], settings)).toThrow(/got NaN \(at prompt "b"\)/);
    expect(() => advantagesOf(none, ["a"], [1], { ...settings, minimum: 4 })).toThrow(/minimum: expected a whole number from 1 to the buffer's 3, got 4/);
    expect(() => advantagesOf(none, ["a"], [1], { ...settings, limit: 0 })).toThrow(/limit/);
    for (const damaged of [{}, [["a"]], [["a", []]], [["a", [1, 2, 3, 4]]], [["a", [1]], ["a", [2]]], [["a", ["1"]]]]) {
      expect(() => statisticsFromJson(damaged, settings, "state.json")).toThrow(/pairs of a prompt and its last rewards, at most 3 each \(at state\.json\)/);
    }
  });
});
