import { lcmSteps, loraTargets } from "@tastemaker/diffusion";
import { type Backend, mean, mul, onnxBackend, referenceBackend, sub } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { afterAll, describe, expect, it } from "vitest";

import { DIVERGENCES, type DivergenceSettings } from "../objectives/divergence.ts";
import { noiseOf, constantModel } from "../testing/constant-model.ts";
import { type AdapterValues, compileRocmStep, type RewardTerm, type RocmStep, type RocmStepInputs, type RocmStepOptions } from "./rocm-step.ts";

const reference = referenceBackend(() => new Float64Array());
const runtime = onnxBackend(ort, { threads: 1 });
const model = constantModel(1);
const targets = loraTargets(model.unet.config);

const BATCH = 2;
const TOKENS = 3;
const RANK = 2;
const DRAWS = 2;

/** Brightness, and nearness of the first channel to a value that is fed. */
const rewards: readonly RewardTerm[] = [
  { name: "bright", weight: 1, inputs: {}, score: (image) => mean(image, [1, 2, 3]) },
  {
    name: "near",
    weight: -0.5,
    inputs: { level: { shape: [BATCH, 1, 1, 1] } },
    score: (image, { level }) => mean(mul(sub(image, level!), sub(image, level!)), [1, 2, 3]),
  },
];

const settingsOf = (divergence: Partial<DivergenceSettings>): DivergenceSettings => ({
  kind: "kl", reduction: "mean", stepReduction: "sum", detachReference: false, samples: DRAWS, ...divergence,
});

interface Variant {
  readonly divergence?: Partial<DivergenceSettings>;
  readonly steps?: number;
  readonly backpropSteps?: number;
}

function optionsOf(variant: Variant, checkpointing: RocmStepOptions["checkpointing"], backend: Backend): RocmStepOptions {
  const { divergence = {}, steps = 3, backpropSteps } = variant;
  return {
    model,
    rewards,
    settings: {
      schedule: lcmSteps(model.scheduler, steps),
      lora: { targets, rank: RANK, alpha: 4 },
      divergence: settingsOf(divergence),
      backpropSteps,
      latentSize: [4, 2],
      contextLength: TOKENS,
    },
    batchSize: BATCH,
    backend,
    checkpointing,
  };
}

function adapterOf(scaleB = 0.3): Map<string, Float64Array> {
  return new Map(
    targets.flatMap(({ module, in: inner, out }): [string, Float64Array][] => [
      [`${module}.lora_A.weight`, noiseOf(`${module}.a`, RANK * inner, 0.7)],
      [`${module}.lora_B.weight`, noiseOf(`${module}.b`, out * RANK, scaleB)],
    ]),
  );
}

function inputsOf({ divergence = {}, steps = 3 }: Variant, adapter: AdapterValues = adapterOf()): RocmStepInputs {
  const size = BATCH * 4 * 4 * 2;
  return {
    adapter,
    context: noiseOf("context", BATCH * TOKENS * 6),
    cond: noiseOf("cond", BATCH * 8),
    latents: noiseOf("latents", size),
    noise: noiseOf("noise", (steps - 1) * size),
    rewardInputs: { near: { level: Float64Array.of(0.2, 0.7) } },
    beta: 0.8,
    ...(divergence.kind === "js-sampled" ? { divergenceNoise: noiseOf("draws", DRAWS * (steps - 1) * size) } : {}),
  };
}

const opened: RocmStep[] = [];
async function compile(variant: Variant, checkpointing: RocmStepOptions["checkpointing"], backend: Backend = reference): Promise<RocmStep> {
  const step = await compileRocmStep(optionsOf(variant, checkpointing, backend));
  opened.push(step);
  return step;
}
afterAll(async () => {
  for (const step of opened) await step.dispose();
});

/** Largest difference of two lists relative to the largest number of the second. */
function relativeDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const size = Array.from(b).reduce((most, x) => Math.max(most, Math.abs(x)), 1e-12);
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0) / size;
}

const variants: Record<string, Variant> = {
  "no divergence": { divergence: { kind: "none" } },
  kl: {},
  "hellinger, sum over the latent, mean over steps": { divergence: { kind: "hellinger", reduction: "sum", stepReduction: "mean" } },
  js: { divergence: { kind: "js" } },
  "sampled js, sum": { divergence: { kind: "js-sampled", reduction: "sum" } },
  "fisher, detached": { divergence: { kind: "fisher", detachReference: true } },
  "kl, last two steps": { backpropSteps: 2 },
  "js, last step": { divergence: { kind: "js" }, backpropSteps: 1 },
  "one step": { steps: 1 },
};

describe("ROCM step", () => {
  it.each(["none", "step"] as const)("weights normalised rewards in the loss and reports raw ones (%s)", async (checkpointing) => {
    const inputs = inputsOf({});
    const plain = await (await compile({}, checkpointing)).run(inputs);
    const options = optionsOf({}, checkpointing, reference);
    const normalization = { mean: 0.4, std: 0.05 };
    const step = await compileRocmStep({ ...options, rewards: [{ ...rewards[0]!, normalization }, rewards[1]!] });
    opened.push(step);
    const normalised = await step.run(inputs);
    for (const name of ["bright", "near"]) expect(relativeDistance(normalised.rewards[name]!, plain.rewards[name]!)).toBeLessThan(1e-12);
    const bright = [...plain.rewards["bright"]!];
    // −mean((r − 0.4)/0.05) in the place of −mean(r).
    const shift = bright.reduce((total, value) => total + value - (value - 0.4) / 0.05, 0) / BATCH;
    expect(normalised.loss).toBeCloseTo(plain.loss + shift, 9);
    const heavier = await compileRocmStep({ ...options, rewards: [{ ...rewards[0]!, weight: 1 / 0.05 }, rewards[1]!] });
    opened.push(heavier);
    const { gradients } = await heavier.run(inputs);
    for (const [name, values] of normalised.gradients) expect(relativeDistance(values, gradients.get(name)!), name).toBeLessThan(1e-6);
  });

  it.each(Object.keys(variants))("gives the same numbers for all ways of running it: %s", async (name) => {
    const variant = variants[name]!;
    const inputs = inputsOf(variant);
    const float32 = name.startsWith("kl") || name.includes("detached") ? [[runtime, 2e-4] as const] : [];
    for (const [backend, bar] of [[reference, 1e-6] as const, ...float32]) {
      const whole = await (await compile(variant, "none", backend)).run(inputs);
      for (const checkpointing of ["step", "block"] as const) {
        const steps = await (await compile(variant, checkpointing, backend)).run(inputs);
        expect(Math.abs(steps.loss - whole.loss)).toBeLessThan(bar * Math.abs(whole.loss));
        for (const key of ["divergenceTotal", "divergence", "s", "x", "denoised", "reference", "images"] as const) {
          const flat = (value: unknown): number[] => [value].flat().flatMap((part) => [...((part as { data?: number[] }).data ?? (part as number[]))]);
          expect(flat(steps[key]).length, key).toBe(flat(whole[key]).length);
          expect(relativeDistance(flat(steps[key]), flat(whole[key])), key).toBeLessThan(bar);
        }
        const largest = Math.max(...[...whole.gradients.values()].map((values) => Math.max(...values.map(Math.abs))));
        expect(largest).toBeGreaterThan(1e-6);
        expect([...steps.gradients.keys()]).toEqual([...whole.gradients.keys()]);
        for (const [key, values] of whole.gradients) {
          const distance = Math.max(...values.map((x, i) => Math.abs(x - steps.gradients.get(key)![i]!)));
          expect(distance / largest, key).toBeLessThan(bar);
        }
      }
    }
  });

  it.each(DIVERGENCES)("has the gradient of its loss: %s", async (kind) => {
    const variant: Variant = { divergence: { kind } };
    const step = await compile(variant, "none");
    const adapter = adapterOf();
    const { gradients } = await step.run(inputsOf(variant, adapter));
    const direction = new Map([...adapter].map(([name, values]) => [name, noiseOf(`direction/${name}`, values.length)]));
    const moved = async (h: number): Promise<number> =>
      (await step.run(inputsOf(variant, new Map([...adapter].map(([name, values]) => [name, values.map((x, i) => x + h * direction.get(name)![i]!)]))))).loss;
    const h = 1e-4;
    const slope = (8 * ((await moved(h)) - (await moved(-h))) - ((await moved(2 * h)) - (await moved(-2 * h)))) / (12 * h);
    const expected = [...gradients].reduce((total, [name, values]) => total + values.reduce((inner, x, i) => inner + x * direction.get(name)![i]!, 0), 0);
    expect(Math.abs(expected)).toBeGreaterThan(1e-4);
    expect(Math.abs(slope - expected)).toBeLessThan(2e-6 * Math.abs(expected));
  });

  it("has a finite gradient and no divergence where policy and reference are equal", async () => {
    for (const kind of ["hellinger", "js", "js-sampled"] as const) {
      const variant: Variant = { divergence: { kind }, steps: 2 };
      const result = await (await compile(variant, "none", runtime)).run(inputsOf(variant, adapterOf(0)));
      expect([...result.divergenceTotal].map(Math.abs), kind).toEqual([0, 0]);
      for (const [name, values] of result.gradients) expect(values.every(Number.isFinite), `${kind} ${name}`).toBe(true);
    }
  });

  it("does not depend on what else is in the batch", async () => {
    const step = await compile({}, "none");
    const inputs = inputsOf({});
    const swapRows = (data: ArrayLike<number>, parts: number): Float64Array => {
      const size = data.length / (2 * parts);
      return Float64Array.from({ length: data.length }, (_, i) => data[Math.floor(i / (2 * size)) * 2 * size + ((i % (2 * size)) + size) % (2 * size)]!);
    };
    const result = await step.run(inputs);
    const swapped = await step.run({
      ...inputs,
      context: swapRows(inputs.context, 1),
      cond: swapRows(inputs.cond!, 1),
      latents: swapRows(inputs.latents, 1),
      noise: swapRows(inputs.noise, 2),
      rewardInputs: { near: { level: Float64Array.of(0.7, 0.2) } },
    });
    expect([...swapped.divergenceTotal].reverse()).toEqual([...result.divergenceTotal]);
    expect([...swapped.rewards["near"]!].reverse()).toEqual([...result.rewards["near"]!]);
  });

  it("refuses what cannot be meant", async () => {
    const base = optionsOf({}, "none", reference);
    const broken = (change: Partial<RocmStepOptions>): Promise<RocmStep> => compileRocmStep({ ...base, ...change });
    await expect(broken({ rewards: [] })).rejects.toThrow(/rewards: expected at least one/);
    await expect(broken({ rewards: [rewards[0]!, rewards[0]!] })).rejects.toThrow(/"bright" twice/);
    await expect(broken({ rewards: [{ ...rewards[0]!, score: (image) => mean(image) }] })).rejects.toThrow(/score of shape \[2\], got \[\]/);
    await expect(broken({ rewards: [{ ...rewards[1]!, score: (_, { level }) => mean(level!, [1, 2, 3]) }] })).rejects.toThrow(/differentiably/);
    await expect(broken({ settings: { ...base.settings, backpropSteps: 4 } })).rejects.toThrow(/backpropSteps: expected a whole number from 1 to the 3 steps, got 4/);
    const step = await compile({}, "step");
    const inputs = inputsOf({});
    await expect(step.run({ ...inputs, noise: inputs.noise.subarray(1) })).rejects.toThrow(/noise: expected 128 numbers for \[2, 2, 4, 4, 2\], got 127/);
    await expect(step.run({ ...inputs, rewardInputs: {} })).rejects.toThrow(/reward.near.level/);
    await expect(step.run({ ...inputs, rewardInputs: { nera: {} } })).rejects.toThrow(/did you mean "near"/);
    await expect(step.run({ ...inputs, adapter: new Map([["other.lora_A.weight", new Float32Array(1)]]) })).rejects.toThrow(/other.lora_A.weight/);
  });
});
