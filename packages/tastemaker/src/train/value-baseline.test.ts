import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { UNetConfig } from "@tastemaker/diffusion";
import { normal } from "@tastemaker/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ValueLayout } from "../objectives/value-network.ts";
import { openModel } from "../models/open-model.ts";
import { nodeBackend, oracleBackend } from "../platform/runtime.ts";
import { writeTinyWorld } from "../testing/tiny-world.ts";
import { valueLayoutOf } from "./open-objective.ts";
import { initialValueState, type RewardedWalk, scaledRewards, ValueBaseline, type ValueState } from "./value-baseline.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-value-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const rows = 4;
const tokens = 3;
const steps = [{ index: 0, timestep: 900 }, { index: 1, timestep: 300 }];
let config: UNetConfig;
let layout: ValueLayout;
beforeAll(async () => {
  const model = await openModel((await writeTinyWorld(folder, 2)).diffusion);
  config = model.unet;
  layout = valueLayoutOf(model);
});

/** Batches whose rewards follow from the latents' means and the prompts, with other numbers per `stream`. */
function batches(stream: string, count: number): RewardedWalk[] {
  const draw = (name: string, batch: number, size: number): Float32Array => Float32Array.from(normal({ seed: 3, stream: `${stream}/${name}`, indices: [batch] }, size));
  const size = layout.latentShape.reduce((product, value) => product * value, 1);
  return Array.from({ length: count }, (_, batch) => {
    const x = [0, 1].map((step) => draw(`x${step}`, batch, rows * size));
    const context = draw("context", batch, rows * tokens * layout.contextWidth);
    const shift = draw("shift", batch, rows);
    for (const latents of x) for (let i = 0; i < latents.length; i++) latents[i]! += shift[Math.floor(i / size)]!;
    for (let i = 0; i < context.length; i++) context[i]! += i % layout.contextWidth === 0 ? 2 * shift[Math.floor(i / (tokens * layout.contextWidth))]! : 0;
    return { walk: { x, output: [], context, pictures: [] }, rewards: Float64Array.from(shift) };
  });
}

const open = (backend = nodeBackend({ threads: 1 })): Promise<ValueBaseline> => ValueBaseline.open(layout, { config, batchSize: rows, contextShape: [tokens, layout.contextWidth] }, backend);

describe("the value network", () => {
  it("expects the mean of the first rewards of everything at first, whatever their unit", async () => {
    const baseline = await open();
    const state = initialValueState(layout, 1);
    const scaled = scaledRewards(state, [10, 30, 20, 20]);
    expect([...scaled].map((value) => value.toFixed(3))).toEqual(["-1.414", "1.414", "0.000", "0.000"]);
    // Later rewards are measured with the first ones' mean and deviation.
    expect(scaledRewards(state, [20 + Math.sqrt(50)])[0]).toBeCloseTo(1, 6);
    const [batch] = batches("first", 1);
    expect(await baseline.advantages(state, batch!, steps[0]!)).toEqual(batch!.rewards);
    await baseline.dispose();
  });

  it("learns what follows from latents and prompts, and says so of others", async () => {
    const baseline = await open();
    const state = initialValueState(layout, 1);
    const losses: number[] = [];
    for (let iteration = 0; iteration < 12; iteration++) losses.push(await baseline.fit(state, batches("train", 8), steps, { updates: 10, learningRate: 3e-3 }));
    expect(state.optimizer.updates).toBe(120);
    expect(losses[0]).toBeGreaterThan(0.5);
    expect(losses.at(-1)).toBeLessThan(0.05 * losses[0]!);
    const [other] = batches("other", 1);
    for (const step of steps) expect(Math.max(...(await baseline.advantages(state, other!, step)).map(Math.abs))).toBeLessThan(0.5 * Math.max(...other!.rewards.map(Math.abs)));
    await baseline.dispose();
  });

  it("reads the timestep", async () => {
    const baseline = await open();
    const state = initialValueState(layout, 1);
    const [batch] = batches("one", 1);
    await baseline.fit(state, [batch!], [{ index: 0, timestep: 900 }], { updates: 30, learningRate: 1e-2 });
    const at = (timestep: number): Promise<Float64Array> => baseline.advantages(state, batch!, { index: 0, timestep });
    expect(await at(900)).not.toEqual(await at(100));
    await baseline.dispose();
  });

  it("is moved along the gradient of its squared error, in float64", async () => {
    const baseline = await open(oracleBackend());
    // A network in which every layer counts.
    const drawn: ValueState = initialValueState(layout, 1);
    for (const [name, values] of drawn.parameters) values.set(Float32Array.from(normal({ seed: 9, stream: name, indices: [] }, values.length), (z) => 0.2 * z));
    const [batch] = batches("slope", 1);
    const ways = new Map([...drawn.parameters].map(([name, { length }]) => [name, normal({ seed: 4, stream: name, indices: [] }, length)]));
    const at = (shift: number): ValueState => {
      const parameters = new Map([...drawn.parameters].map(([name, values]) => [name, Float64Array.from(values, (value, i) => value + shift * ways.get(name)![i]!) as unknown as Float32Array]));
      return { ...initialValueState(layout, 1), parameters };
    };
    const lossAt = (shift: number): Promise<number> => baseline.fit(at(shift), [batch!], steps, { updates: 1, learningRate: 0 });
    const state = at(0);
    await baseline.fit(state, [batch!], steps, { updates: 1, learningRate: 0 });
    // After one update the first moment is a tenth of the gradient.
    let slope = 0;
    for (const [name, first] of state.optimizer.first) for (const [i, value] of first.entries()) slope += 10 * value * ways.get(name)![i]!;
    const h = 1e-5;
    expect(Math.abs(slope)).toBeGreaterThan(1e-3);
    expect(Math.abs((await lossAt(h) - (await lossAt(-h))) / (2 * h) / slope - 1)).toBeLessThan(1e-5);
    await baseline.dispose();
  });
});
