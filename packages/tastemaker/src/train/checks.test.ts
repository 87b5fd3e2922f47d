import { describe, expect, it } from "vitest";
import { freeMemory } from "../platform/free-memory.ts";
import { checkFirstKl, checkFirstRatio, checkMemory } from "./checks.ts";
import { slowEvaluation } from "./train-session.ts";

describe("the memory of a training step", () => {
  const warningsFor = (peakBytes: number | undefined, checkpointing: "none" | "step" | "block" = "step"): string[] => {
    const warnings: string[] = [];
    checkMemory({ peakBytes }, { totalBytes: 16e9, availableBytes: 4e9 }, checkpointing, (text) => warnings.push(text));
    return warnings;
  };

  it("is not spoken of where it fits, or where nobody can tell", () => {
    expect(warningsFor(3.9e9)).toEqual([]);
    expect(warningsFor(undefined)).toEqual([]);
  });

  it("is a warning where other programs would have to be closed", () => {
    expect(warningsFor(4.6e9)).toEqual(["a training step needs about 4.6 GB besides the weights, and 4.0 GB are free: close other programs, or use --checkpointing block, a lower --batch-size or a smaller --size"]);
  });

  it("is an error beyond the machine, with the setting that needs less", () => {
    expect(() => warningsFor(62e9, "none")).toThrow("memory: expected at least 62.0 GB (a training step needs about 62.0 GB besides the weights), got 16.0 GB in all; use --checkpointing step");
    expect(() => warningsFor(17e9, "block")).toThrow("use a lower --batch-size or a smaller --size");
  });

  it("is compared with what this machine has", () => {
    const { totalBytes, availableBytes } = freeMemory();
    expect(availableBytes).toBeGreaterThan(2 ** 20);
    expect(totalBytes).toBeGreaterThanOrEqual(availableBytes);
  });
});

describe("an evaluation", () => {
  const large = { latentShape: [4, 64, 64], imageSize: 512 } as const;
  const evaluation = { every: 50, prompts: "world:held-out", count: 64, seeds: 1 } as const;

  it("is warned of where it takes hours without a graphics card", () => {
    expect(slowEvaluation({ provider: "cpu", evaluation }, large, 64)).toMatch(/^comparing base and tuned model makes 128 pictures of 512 pixels.*evaluation\.count=4/);
    expect(slowEvaluation({ provider: "cpu", evaluation }, large, 4)).toBeUndefined();
    expect(slowEvaluation({ provider: "cuda", evaluation }, large, 64)).toBeUndefined();
    expect(slowEvaluation({ provider: "cpu", evaluation }, { latentShape: [4, 16, 16], imageSize: 64 }, 64)).toBeUndefined();
  });
});

describe("the first update", () => {
  it("needs ratios of exactly 1", () => {
    checkFirstRatio(Float32Array.of(1, 1), "step 1");
    expect(() => checkFirstRatio([1, 1 + 2 ** -23], "step 3 of iteration 1")).toThrow("training: expected the ratio of new to old policy to be exactly 1 before the first update, got 1.0000001192092896 (at step 3 of iteration 1, element 1 of 2)");
    expect(() => checkFirstRatio([Number.NaN], "step 1")).toThrow(/got NaN \(at step 1\)/);
  });

  it("needs a KL of exactly 0, of either sign", () => {
    checkFirstKl([0, -0], "step 1");
    expect(() => checkFirstKl([1e-30], "step 1")).toThrow(/the KL of tuned to base model to be exactly 0 before the first update, got 1e-30/);
    expect(() => checkFirstKl([Number.NaN], "step 1")).toThrow(/got NaN/);
  });
});
