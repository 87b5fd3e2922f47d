import { ddimSteps, lcmSteps, loraTargets, sampleDdim, withLora } from "@tastemaker/diffusion";
import { type Backend, constant, mean, onnxBackend, program, referenceBackend } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { afterAll, describe, expect, it } from "vitest";
import type { DivergenceSettings } from "../objectives/divergence.ts";
import { ddimStepsOf, type SamplerStep, transitionCount } from "../objectives/sampler-step.ts";
import { constantModel, noiseOf } from "../testing/constant-model.ts";
import { backpropPlan, earliestPrediction } from "./backprop-plan.ts";
import { compileRocmStep, type RewardTerm, type RocmStep, type RocmStepInputs, type RocmStepOptions, type RocmStepResult } from "./rocm-step.ts";

const reference = referenceBackend(() => new Float64Array());
const runtime = onnxBackend(ort, { threads: 1 });
const model = constantModel(1, "diffusion");
const targets = loraTargets(model.unet.config);

const BATCH = 2;
const TOKENS = 3;
const RANK = 2;
const STEPS = 3;
const GUIDANCE = 2.5;
const SIZE = BATCH * 4 * 4 * 2;

const rewards: readonly RewardTerm[] = [{ name: "bright", weight: 1, inputs: {}, score: (image) => mean(image, [1, 2, 3]) }];
const divergenceOf = (kind: DivergenceSettings["kind"], detachReference = false): DivergenceSettings => ({ kind, reduction: "mean", stepReduction: "sum", detachReference, samples: 1 });

interface Variant {
  readonly kind?: DivergenceSettings["kind"];
  readonly detachReference?: boolean;
  readonly eta?: number;
  readonly backpropSteps?: number;
}

const scheduleOf = (eta = 1): SamplerStep[] => ddimStepsOf(ddimSteps(model.scheduler, STEPS, eta));

function optionsOf({ kind = "kl", detachReference, eta, backpropSteps }: Variant, checkpointing: RocmStepOptions["checkpointing"], backend: Backend): RocmStepOptions {
  return {
    model,
    rewards,
    settings: { schedule: scheduleOf(eta), guidanceScale: GUIDANCE, lora: { targets, rank: RANK, alpha: 4 }, divergence: divergenceOf(kind, detachReference), backpropSteps, latentSize: [4, 2], contextLength: TOKENS },
    batchSize: BATCH,
    backend,
    checkpointing,
  };
}

const adapterOf = (scaleB = 0.3): Map<string, Float64Array> =>
  new Map(
    targets.flatMap(({ module, in: inner, out }): [string, Float64Array][] => [
      [`${module}.lora_A.weight`, noiseOf(`${module}.a`, RANK * inner, 0.7)],
      [`${module}.lora_B.weight`, noiseOf(`${module}.b`, out * RANK, scaleB)],
    ]),
  );

function inputsOf({ eta }: Variant, adapter = adapterOf()): RocmStepInputs {
  return {
    adapter,
    context: noiseOf("context", BATCH * TOKENS * 6),
    emptyContext: noiseOf("empty", BATCH * TOKENS * 6),
    latents: noiseOf("latents", SIZE),
    noise: noiseOf("noise", transitionCount(scheduleOf(eta)) * SIZE),
    rewardInputs: {},
    beta: 0.8,
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

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  const size = Array.from(b).reduce((most, x) => Math.max(most, Math.abs(x)), 1e-12);
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0) / size;
}

const gradientOf = ({ gradients }: RocmStepResult): number[] => [...gradients.values()].flatMap((values) => [...values]);

/** Loss by its own program at the adapter moved by h, along a fixed direction; the slope by central differences, and by the gradient. */
async function slopes(step: RocmStep, inputs: RocmStepInputs): Promise<{ readonly measured: number; readonly expected: number }> {
  const { gradients } = await step.run(inputs);
  const direction = new Map([...inputs.adapter].map(([name, values]) => [name, noiseOf(`direction/${name}`, values.length)]));
  const moved = async (h: number): Promise<number> => (await step.run({ ...inputs, adapter: new Map([...inputs.adapter].map(([name, values]) => [name, Float64Array.from(values, (x, i) => x + h * direction.get(name)![i]!)])) })).loss;
  const h = 1e-4;
  const measured = (8 * ((await moved(h)) - (await moved(-h))) - ((await moved(2 * h)) - (await moved(-2 * h)))) / (12 * h);
  return { measured, expected: [...gradients].reduce((total, [name, values]) => total + values.reduce((inner, x, i) => inner + x * direction.get(name)![i]!, 0), 0) };
}

describe("ROCM on a diffusion model", () => {
  it("passes through the states of DDIM with guidance and compares them by the means and deviations of its steps", async () => {
    const inputs = inputsOf({});
    const result = await (await compile({}, "none")).run(inputs);
    const schedule = ddimSteps(model.scheduler, STEPS, 1);
    const stacked = (data: ArrayLike<number>, shape: number[]): ReturnType<typeof constant> => constant(Float64Array.from(data), shape);
    const shape = [BATCH, 4, 4, 2];
    const adapter = new Map(targets.map(({ module, in: inner, out }) => [module, { down: stacked(adapterOf().get(`${module}.lora_A.weight`)!, [RANK, inner]), up: stacked(adapterOf().get(`${module}.lora_B.weight`)!, [out, RANK]) }]));
    const denoiser = { ...model.unet, scope: withLora(model.unet.scope, { targets: adapter, scale: Array<number>(2 * BATCH).fill(1), factor: 2 }) };
    const conditioning = { scale: GUIDANCE, context: stacked(inputs.context, [BATCH, TOKENS, 6]), uncondContext: stacked(inputs.emptyContext!, [BATCH, TOKENS, 6]) };
    const noise = Array.from({ length: STEPS }, (_, i) => stacked(inputs.noise.subarray(i * SIZE, (i + 1) * SIZE), shape));
    const run = sampleDdim(denoiser, schedule, stacked(inputs.latents, shape), noise, conditioning);
    // The base model's mean at a state of the policy: one step of DDIM from there.
    const base = run.x.map((x, i) => sampleDdim(model.unet, [schedule[i]!], x, [noise[i]!], conditioning).mean[0]!);
    const expected = await (await reference.compile(program(Object.fromEntries([...run.x.map((x, i) => [`x.${i}`, x] as const), ...run.mean.map((mu, i) => [`mu.${i}`, mu] as const), ...base.map((mu, i) => [`base.${i}`, mu] as const)])))).run({});
    expect(result.divergence).toHaveLength(STEPS);
    for (const [i, { sigma }] of schedule.entries()) {
      expect(distance(result.x[i]!.data, expected[`x.${i}`]!.data)).toBeLessThan(1e-9);
      expect(distance(result.denoised[i]!.data, expected[`mu.${i}`]!.data)).toBeLessThan(1e-9);
      for (let row = 0; row < BATCH; row++) {
        let s = 0;
        for (let k = 0; k < SIZE / BATCH; k++) s += ((expected[`mu.${i}`]!.data[row * (SIZE / BATCH) + k]! - expected[`base.${i}`]!.data[row * (SIZE / BATCH) + k]!) / sigma) ** 2 / (SIZE / BATCH);
        expect(result.s[i]![row]!).toBeCloseTo(s, 8 - Math.ceil(Math.log10(s + 1)));
        // KL of two Gaussians of one deviation, as a mean over the latent.
        expect(result.divergence[i]![row]! / (s / 2)).toBeCloseTo(1, 8);
      }
    }
  });

  const variants: Readonly<Record<string, Variant>> = {
    "no divergence": { kind: "none" },
    kl: {},
    "kl, detached": { detachReference: true },
    "js, last two steps": { kind: "js", backpropSteps: 2 },
    "kl, last step": { backpropSteps: 1 },
    "half the noise": { eta: 0.5 },
    "no noise": { kind: "none", eta: 0 },
  };
  it.each(Object.keys(variants))("gives the same numbers for all ways of running it: %s", async (name) => {
    const variant = variants[name]!;
    const inputs = inputsOf(variant);
    for (const [backend, bar] of [[reference, 1e-6] as const, ...(name === "kl" ? [[runtime, 1e-3] as const] : [])]) {
      const whole = await (await compile(variant, "none", backend)).run(inputs);
      expect(Math.max(...gradientOf(whole).map(Math.abs))).toBeGreaterThan(1e-6);
      for (const checkpointing of ["step", "block"] as const) {
        const steps = await (await compile(variant, checkpointing, backend)).run(inputs);
        expect(Math.abs(steps.loss - whole.loss)).toBeLessThan(bar * Math.abs(whole.loss));
        expect(distance(steps.images.data, whole.images.data)).toBeLessThan(bar);
        expect(distance(steps.divergence.flatMap((row) => [...row]), whole.divergence.flatMap((row) => [...row]))).toBeLessThan(bar);
        expect(distance(gradientOf(steps), gradientOf(whole))).toBeLessThan(bar);
      }
    }
  });

  it.each(["none", "kl", "hellinger", "fisher"] as const)("has the gradient of its loss: %s", async (kind) => {
    const { measured, expected } = await slopes(await compile({ kind }, "none"), inputsOf({ kind }));
    expect(Math.abs(expected)).toBeGreaterThan(1e-5);
    expect(Math.abs(measured - expected)).toBeLessThan(5e-6 * Math.abs(expected));
  });

  it("has a divergence of exactly 0 before the first update", async () => {
    for (const checkpointing of ["none", "step"] as const) {
      const result = await (await compile({}, checkpointing, runtime)).run(inputsOf({}, adapterOf(0)));
      expect([...result.divergenceTotal].map(Math.abs)).toEqual([0, 0]);
    }
  });

  it("refuses a divergence of steps without noise, and what it does not take", async () => {
    await expect(compile({ eta: 0 }, "step")).rejects.toThrow(/divergence: expected none for steps without noise \(eta 0\), got kl/);
    const step = await compile({}, "none");
    await expect(step.run({ ...inputsOf({}), plan: { schedule: scheduleOf(), backpropSteps: 1 } })).rejects.toThrow(/plan: expected none with checkpointing none/);
    await expect(step.run({ ...inputsOf({}), emptyContext: undefined })).rejects.toThrow(/emptyContext/);
  });
});

describe("a plan", () => {
  it("of K steps gives what a step compiled for K gives", async () => {
    const varying = await compile({}, "step");
    for (const backpropSteps of [1, 2, 3]) {
      const fixed = await (await compile({ backpropSteps }, "step")).run(inputsOf({}));
      const planned = await varying.run({ ...inputsOf({}), plan: { schedule: scheduleOf(), backpropSteps } });
      expect(planned.loss).toBe(fixed.loss);
      expect(gradientOf(planned)).toEqual(gradientOf(fixed));
    }
  });

  it("that predicts decodes x̂₀ of its last step, whose gradient is that of this step alone", async () => {
    const variant: Variant = { kind: "none" };
    const varying = await compile(variant, "step");
    const whole = scheduleOf();
    for (const end of [1, 2]) {
      const last = whole[end]!;
      const plan = { schedule: [...whole.slice(0, end), { ...last, ...last.predicted, next: undefined }], backpropSteps: 1 };
      // Of three steps, the last quarter is the third.
      if (end === 2) expect(backpropPlan("predicted", whole, { seed: 3, iteration: 0 })).toEqual(plan);
      const result = await varying.run({ ...inputsOf(variant), plan });
      // The same step in one program, written for this way.
      const options = optionsOf(variant, "none", reference);
      const fixed = await compileRocmStep({ ...options, settings: { ...options.settings, schedule: plan.schedule, backpropSteps: 1 } });
      opened.push(fixed);
      const expected = await fixed.run({ ...inputsOf(variant), noise: inputsOf(variant).noise.subarray(0, end * SIZE) });
      expect(distance(result.images.data, expected.images.data)).toBeLessThan(1e-9);
      expect(distance(gradientOf(result), gradientOf(expected))).toBeLessThan(1e-6);
      // x̂₀ by ε: (x − √(1−ᾱ) ε)/√ᾱ, where ε comes from the mean of DDIM's step.
      const step = ddimSteps(model.scheduler, STEPS, 1)[end]!;
      const full = await varying.run(inputsOf(variant));
      const epsilon = Float64Array.from(full.denoised[end]!.data, (mu, k) => (mu - step.meanFromSample * full.x[end]!.data[k]!) / step.meanFromOutput);
      const predicted = Float64Array.from(full.x[end]!.data, (x, k) => (x - Math.sqrt(1 - step.alphaBar) * epsilon[k]!) / Math.sqrt(step.alphaBar));
      expect(distance(result.denoised[end]!.data, predicted)).toBeLessThan(1e-5);
    }
  });

  it("is drawn uniformly from 1 … N by `random` and from the last quarter by `predicted`, as a function of seed and iteration", () => {
    const schedule = lcmSteps(constantModel(1).scheduler, 8);
    const count = 4000;
    const of = (setting: "random" | "predicted", seed: number): number[] => Array.from({ length: count }, (_, iteration) => {
      const plan = backpropPlan(setting, schedule, { seed, iteration })!;
      return setting === "random" ? plan.backpropSteps : plan.schedule.length - 1;
    });
    const shares = (values: readonly number[], from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => values.filter((value) => value === from + i).length / count);
    for (const share of shares(of("random", 0), 1, 8)) expect(Math.abs(share - 1 / 8)).toBeLessThan(0.02);
    expect(earliestPrediction(8)).toBe(6);
    for (const share of shares(of("predicted", 0), 6, 7)) expect(Math.abs(share - 1 / 2)).toBeLessThan(0.03);
    expect(of("random", 0)).toEqual(of("random", 0));
    expect(of("random", 0)).not.toEqual(of("random", 1));
    // ReFL's 40 steps end at 30 … 39.
    expect(earliestPrediction(40)).toBe(30);
    expect(earliestPrediction(1)).toBe(0);
    // A consistency model's prediction is its f.
    const plan = backpropPlan("predicted", schedule, { seed: 0, iteration: 0 })!;
    expect(plan.schedule.at(-1)).toMatchObject({ fromSample: schedule[plan.schedule.length - 1]!.fromSample, next: undefined });
    expect(backpropPlan(2, schedule, { seed: 0, iteration: 0 })).toBeUndefined();
  });
});
