import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { normal } from "@tastemaker/tensor";
import { afterAll, describe, expect, it } from "vitest";
import { resolveTrainConfig } from "../config/load-config.ts";
import { needsDiffusion, objectiveNames, policyOf } from "../config/policy-setting.ts";
import { AdaptedNetwork } from "../models/adapted-network.ts";
import { adapterLayout, initialAdapter } from "../models/adapter.ts";
import { openModel } from "../models/open-model.ts";
import { samplerParts } from "../models/sampler-parts.ts";
import { TextContexts } from "../models/text-contexts.ts";
import { oracleBackend } from "../platform/runtime.ts";
import { openReward } from "../rewards/open-reward.ts";
import { tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";
import type { ParameterSet } from "./adamw.ts";
import { openObjective } from "./open-objective.ts";
import { PolicyLoss } from "./policy-loss.ts";
import { consistencySchedule, diffusionSchedule } from "../models/policy-schedule.ts";
import { initialState } from "./train-state.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-policy-gradient-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The float64 interpreter takes and gives float64 where the other backend has float32. */
const float64 = (stream: string, count: number, scale = 1): Float32Array => normal({ seed: 7, stream, indices: [] }, count).map((z) => scale * z) as unknown as Float32Array;

describe("the gradient of an update", () => {
  it.each(objectiveNames.filter((name) => name !== "rocm"))("of %s is the slope of its loss by the adapter, in float64", async (objective) => {
    const world = await writeTinyWorld(join(folder, objective), 3);
    const isDiffusion = needsDiffusion({ objective });
    const model = await openModel(isDiffusion ? world.diffusion : world.model);
    const backend = oracleBackend();
    const layout = adapterLayout(model, { rank: 2, alpha: 4, targets: ["to_q", "to_v"] });
    const contexts = new TextContexts(model, backend, () => {});
    const rows = 2;
    const options = { layout, batchSize: rows, contextShape: contexts.shape, guidanceScale: 3, ...(isDiffusion && { emptyContext: await contexts.empty() }) };
    const network = await AdaptedNetwork.open(samplerParts(model), options, backend, true);
    // A clip range that some ratios exceed would put a kink near the point; the derivative beside it is compared.
    const settings = { ...policyOf({ objective }), clipRange: 0.5 };
    const loss = await PolicyLoss.open(objective, settings, { config: model.unet, shape: [rows, ...model.latentShape] }, backend);
    const schedule = isDiffusion ? diffusionSchedule(model.parts.scheduler, { steps: 3, eta: 1 }) : consistencySchedule(model.parts.scheduler, { steps: 3, timesteps: "linspace", lastStepNoise: false });
    const { scored: step } = schedule.steps[1]!;

    const size = rows * model.latentShape.reduce((product, value) => product * value, 1);
    const at = (shift: number): ParameterSet => new Map([...initialAdapter(layout, 1)].map(([key, values]) => [key, Float64Array.from(values, (value, i) => value + (isDiffusion ? 0.002 : 0.02) * float64(key, values.length)[i]! + shift * float64(`way/${key}`, values.length)[i]!) as unknown as Float32Array]));
    const inputs = (parameters: ParameterSet, strength = 1): Parameters<AdaptedNetwork["output"]>[0] => ({ sample: float64("x", size), timestep: step!.timestep, context: float64("context", rows * contexts.shape[0] * contexts.shape[1]), adapter: { parameters, strength } });
    const old = await network.output(inputs(initialAdapter(layout, 2)));
    const x = float64("x", size);
    const next = float64("z", size).map((z, i) => step!.meanFromSample * x[i]! + step!.meanFromOutput * old[i]! + step!.sigma * z);
    const reference = await network.output(inputs(at(0), 0));
    const run = async (parameters: ParameterSet): Promise<Awaited<ReturnType<PolicyLoss["run"]>>> =>
      loss.run({ step: step!, x, next, output: await network.output(inputs(parameters)), old, reference, targets: Float64Array.of(1, -1), ...(objective === "rebel" && { others: Float64Array.of(1e-4, -3e-4) }) });

    const here = await run(at(0));
    expect([...here.ratio].every((ratio) => ratio !== 1 && Math.abs(ratio - 1) < 0.4)).toBe(true);
    const gradients = await network.gradient(inputs(at(0)), here.cotangent);
    let slope = 0;
    for (const [key, values] of gradients) for (const [i, value] of values.entries()) slope += value * float64(`way/${key}`, values.length)[i]!;
    const h = 1e-4;
    const difference = ((await run(at(h))).loss - (await run(at(-h))).loss) / (2 * h);
    expect(Math.abs(slope)).toBeGreaterThan(1e-6);
    expect(Math.abs(difference / slope - 1)).toBeLessThan(1e-5);
  });
});

describe("the gradient of an iteration's second update", () => {
  it.each(["rlcm", "rebel"] as const)("of %s is the slope of the loss over all steps, in float64", async (objective) => {
    const world = await writeTinyWorld(join(folder, `${objective}-whole`), 4);
    const backend = oracleBackend();
    // A clip range that some ratios exceed would put a kink near the point.
    const policy = { samplesPerIteration: 4, innerEpochs: 2, ...(objective === "rebel" ? { logRatioPerReward: 0.05 } : { clipRange: 0.5 }) };
    const { beta: _rocm, ...value } = tinyTrainConfig(world, { objective, policy, steps: 3, batchSize: objective === "rebel" ? 1 : 2 }) as Record<string, unknown>;
    const config = resolveTrainConfig({ value, path: "here" }, []);
    const model = await openModel(world.model);
    const layout = adapterLayout(model, { rank: 2, alpha: 4, targets: ["to_q", "to_v"] });
    const reward = { reward: await openReward({ name: "aesthetic", path: world.taste }, backend, undefined), weight: 1, normalization: undefined };
    const contexts = new TextContexts(model, backend, () => {});
    const trained = await openObjective({ config, model, layout, rewards: [reward], prompts: ["a red cat", "a blue dog"], contexts, typicalDivergence: 1, backend, warn: () => {} });

    /** The loss after an update that moved the adapter there, and the gradient of the next. */
    const at = async (shift: number): Promise<{ readonly loss: number; readonly gradients: ParameterSet }> => {
      const state = initialState(layout, { seed: 1, ema: 0, beta: { beta: 0 } as never });
      const parameters = new Map([...state.parameters].map(([key, values]) => [key, Float64Array.from(values) as unknown as Float32Array]));
      let gradients: ParameterSet | undefined;
      const { loss } = await trained.iterate({ ...state, parameters }, (found) => {
        gradients = found;
        for (const [key, values] of parameters) for (let i = 0; i < values.length; i++) values[i]! += 0.02 * float64(key, values.length)[i]! + shift * float64(`way/${key}`, values.length)[i]!;
      });
      return { loss, gradients: gradients! };
    };
    const { gradients } = await at(0);
    let slope = 0;
    for (const [key, values] of gradients) for (const [i, own] of values.entries()) slope += own * float64(`way/${key}`, values.length)[i]!;
    const h = 3e-5;
    // The loss that is reported is the mean of both updates'; the first does not depend on where the adapter goes then.
    const difference = (2 * ((await at(h)).loss - (await at(-h)).loss)) / (2 * h);
    expect(Math.abs(slope)).toBeGreaterThan(1e-6);
    expect(Math.abs(difference / slope - 1)).toBeLessThan(1e-5);
    await trained.dispose();
  });
});
