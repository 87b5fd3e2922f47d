import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { withTemporaryFolder } from "../testing/child.ts";
import { worldGuidanceScale } from "../models/default-guidance.ts";
import { describeConfig } from "./describe-config.ts";
import { configWarnings, parseAssignment, readConfigFile, resolveTrainConfig } from "./load-config.ts";
import { trainConfigSchema } from "./train-config.ts";

function resolve(value: Record<string, unknown>, ...sets: string[]): ReturnType<typeof resolveTrainConfig> {
  return resolveTrainConfig({ value, path: "config.json" }, sets.map(parseAssignment));
}

function messageOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toMatchObject({ name: "UsageError" });
    return (error as Error).message;
  }
  return "no error";
}

describe("training configuration", () => {
  it("has the defaults of the paper and of the code bases it builds on", () => {
    expect(resolve({ model: "models/LCM_Dreamshaper_v7" })).toMatchObject({
      steps: 8,
      guidanceScale: 8,
      lora: { rank: 16, alpha: 32, targets: ["to_q", "to_k", "to_v", "to_out.0"] },
      learningRate: 1e-4,
      batchSize: 1,
      accumulation: 1,
      beta: "auto",
      divergence: { kind: "kl", reduction: "mean", stepReduction: "sum", detachReference: false },
      adam: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    });
  });

  it("takes the guidance scale that suits the embedded model, unless told otherwise", () => {
    expect(resolve({}).guidanceScale).toBe(worldGuidanceScale);
    expect(resolve({ model: "emoji", guidanceScale: 8 }).guidanceScale).toBe(8);
    expect(resolve({}, "guidanceScale=1.5").guidanceScale).toBe(1.5);
  });

  it("lets the command line override the file, also inside objects and lists", () => {
    const config = resolve({ learningRate: 1e-3, rewards: [{ name: "aesthetic" }], lora: { rank: 4 } }, "learningRate=2e-4", "rewards.0.weight=0.5", "lora.alpha=8", "divergence.kind=js", 'beta={"target":0.05}');
    expect(config).toMatchObject({ learningRate: 2e-4, rewards: [{ name: "aesthetic", weight: 0.5 }], lora: { rank: 4, alpha: 8 }, divergence: { kind: "js" }, beta: { target: 0.05 } });
  });

  it.each([
    [{ learningrate: 1 }, 'got "learningrate" (at config.json, setting learningrate); did you mean "learningRate"?'],
    [{ divergence: { knd: "kl" } }, 'configuration: expected one of kind, reduction, stepReduction, detachReference, samples, got "knd" (at config.json, setting divergence.knd); did you mean "kind"?'],
    [{ rewards: [{ nam: "x" }] }, 'configuration: expected one of name, weight, path, vocabulary, clip, normalize, endpoint, onnx, got "nam" (at config.json, setting rewards.0.nam); did you mean "name"?; also wrong: rewards.0.name'],
    [{ divergence: { kind: "hellingr" } }, 'configuration: expected one of none, kl, hellinger, js, js-sampled, fisher, got "hellingr" (at config.json, setting divergence.kind); did you mean "hellinger"?'],
    [{ beta: -1 }, "configuration: expected a number >= 0, got -1 (at config.json, setting beta); see `tastemaker train --help-config`"],
    [{ beta: "high" }, 'configuration: expected a number >= 0, "auto", {"target": number} or {"schedule": "constant" | "linear" | "cosine", "from": number, "to": number}, got "high" (at config.json, setting beta)'],
    [{ beta: { targt: 1 } }, 'got {"targt":1} (at config.json, setting beta)'],
    [{ beta: { schedule: "linear", from: -2, to: 1 } }, "configuration: expected a number >= 0, got -2 (at config.json, setting beta.from)"],
    [{ beta: { schedule: "linear", from: 2 } }, 'configuration: expected "to" in a linear schedule, got none (at config.json, setting beta)'],
    [{ steps: 51 }, "configuration: expected a number <= 50, got 51 (at config.json, setting steps)"],
    [{ steps: 2.5 }, "configuration: expected a whole number, got 2.5 (at config.json, setting steps)"],
    [{ steps: "8" }, 'configuration: expected a number, got "8" (at config.json, setting steps)'],
    [{ guidanceScale: 0 }, "configuration: expected a number >= 1, got 0 (at config.json, setting guidanceScale)"],
    [{ steps: 4, backpropSteps: 5 }, "configuration: expected backpropSteps from 1 to 4 (the sampling steps), got 5"],
    [{ steps: 2, timesteps: [999] }, "configuration: expected 2 timesteps (one per step), got 1"],
    [{ steps: 2, timesteps: [259, 999] }, "configuration: expected falling timesteps, got 259 then 999"],
    [{ timesteps: "linear" }, 'configuration: expected "linspace", "skipping" or a list of timesteps from 999 down to 0, got "linear"'],
    [{ prompts: "" }, 'configuration: expected a text that is not empty, got "" (at config.json, setting prompts)'],
    [{ rewards: [] }, "configuration: expected a list of length >= 1, got []"],
    [{ rewards: [{ name: "x", normalize: "unit" }] }, 'configuration: expected "none", "base", {"base": pictures} or {"mean": number, "std": number}, got "unit" (at config.json, setting rewards.0.normalize)'],
    [{ rewards: [{ name: "x", normalize: { mean: 1, std: 0 } }] }, "configuration: expected a number > 0, got 0 (at config.json, setting rewards.0.normalize.std)"],
    [{ rewards: [{ name: "x", normalize: { base: 1 } }] }, "configuration: expected a number >= 2, got 1 (at config.json, setting rewards.0.normalize.base)"],
    [{ rewards: [{ name: "x", endpoint: { retries: -1 } }] }, "configuration: expected a number >= 0, got -1 (at config.json, setting rewards.0.endpoint.retries)"],
    [JSON.parse('{"__proto__": {"steps": 1}}') as Record<string, unknown>, 'got "__proto__"'],
  ])("refuses %j with one clear message", (value, message) => {
    expect(messageOf(() => resolve(value))).toContain(message);
  });

  it("refuses a prompt of 10001 characters and shows only its beginning", () => {
    const message = messageOf(() => resolve({ prompts: ["x".repeat(10_001)] }));
    expect(message).toContain("configuration: expected a text of length <= 10000");
    expect(message.length).toBeLessThan(300);
  });

  it("names the option when the command line is at fault", () => {
    expect(messageOf(() => resolve({}, "steps=99"))).toContain("got 99 (at --set steps)");
    expect(messageOf(() => resolve({}, 'beta={"target":-1}'))).toContain("got -1 (at --set beta, setting beta.target)");
    expect(messageOf(() => resolve({}, "lora.rnk=3"))).toContain('got "rnk" (at --set lora.rnk); did you mean "rank"?');
    expect(messageOf(() => resolve({}, "__proto__.steps=3"))).toContain('got "__proto__"');
    expect(messageOf(() => parseAssignment("steps"))).toBe('--set: expected path=value, got "steps"; for example --set learningRate=1e-4');
    expect(messageOf(() => parseAssignment("a..b=1"))).toContain("expected path=value");
  });

  it("warns of settings that do nothing", () => {
    expect(configWarnings(resolve({}))).toEqual([]);
    expect(configWarnings(resolve({ steps: 1 }))).toEqual([expect.stringContaining("steps is 1")]);
    expect(configWarnings(resolve({ backpropSteps: 1, beta: 2 }))).toEqual([expect.stringContaining("backpropSteps is 1")]);
    expect(configWarnings(resolve({ divergence: { kind: "none" }, beta: 1 }))).toEqual([expect.stringContaining("divergence.kind is none")]);
    expect(configWarnings(resolve({ ema: 0.999, iterations: 100 }))).toEqual([expect.stringContaining("about 1000 iterations")]);
  });

  it("reads configuration files and points into broken ones", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "config.json");
      await writeFile(path, '\uFEFF{"steps": 4}');
      expect(await readConfigFile(path)).toEqual({ steps: 4 });
      await writeFile(path, '{\n  "steps": 4,\n}');
      await expect(readConfigFile(path)).rejects.toMatchObject({ code: "config-invalid", message: expect.stringMatching(/config\.json:3:1\); JSON has no comments/) as string });
      await writeFile(path, "[1]");
      await expect(readConfigFile(path)).rejects.toMatchObject({ code: "config-invalid" });
      await expect(readConfigFile(join(folder, "none.json"))).rejects.toMatchObject({ code: "path-missing" });
    }));

  it("explains every setting in the manual", () => {
    const manual = describeConfig(trainConfigSchema);
    expect(manual).toContain("learningRate   number > 0, <= 1   default 0.0001\n    AdamW's step size.");
    expect(manual).toContain("divergence.kind   none | kl | hellinger | js | js-sampled | fisher   default \"kl\"");
    expect(manual).toContain("rewards.N.weight   number   default 1");
    expect(manual).not.toContain("undefined");
    for (const block of manual.trimEnd().split("\n\n")) expect(block.split("\n").length, block).toBeGreaterThan(1);
  });
});
