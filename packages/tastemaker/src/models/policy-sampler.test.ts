import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ddimSteps, latentToImage, sampleDdim } from "@tastemaker/diffusion";
import { constant, program } from "@tastemaker/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AdaptedNetwork } from "./adapted-network.ts";
import { adapterLayout, initialAdapter } from "./adapter.ts";
import { ImageSampler, type PictureRequest, pictureNoise } from "./image-sampler.ts";
import { openModel, type OpenedModel } from "./open-model.ts";
import { samplerParts } from "./sampler-parts.ts";
import { TextContexts } from "./text-contexts.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { writeTinyWorld } from "../testing/tiny-world.ts";
import { consistencySchedule, diffusionSchedule, noiseCount, type PolicySchedule } from "./policy-schedule.ts";
import { PolicySampler } from "./policy-sampler.ts";
import { preferencesOf } from "../train/rollout.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-policy-sampler-"));
let world: Awaited<ReturnType<typeof writeTinyWorld>>;
beforeAll(async () => {
  world = await writeTinyWorld(folder, 5);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const backend = nodeBackend({ threads: 1 });
const steps = 3;
const guidanceScale = 4;

interface Opened {
  readonly model: OpenedModel;
  readonly contexts: TextContexts;
  readonly requests: PictureRequest[];
}

/** A model and two pictures to make of it. */
async function open(path: string, noises: number): Promise<Opened> {
  const model = await openModel(path);
  const contexts = new TextContexts(model, backend, () => {});
  const prompts = ["a red cat", "a blue dog"];
  const requests = await Promise.all(prompts.map(async (prompt, index) => ({ context: await contexts.of(prompt), noise: pictureNoise({ seed: 1, stream: "test", index }, model.latentShape, noises + 1) })));
  return { model, contexts, requests };
}

async function walk({ model, contexts, requests }: Opened, schedule: PolicySchedule, isGuided: boolean): Promise<Awaited<ReturnType<PolicySampler["walk"]>>> {
  const layout = adapterLayout(model, { rank: 2, alpha: 4, targets: ["to_q"] });
  const parts = samplerParts(model);
  const network = await AdaptedNetwork.open(parts, { layout, batchSize: 2, contextShape: contexts.shape, guidanceScale, ...(isGuided && { emptyContext: await contexts.empty() }) }, backend);
  const sampler = await PolicySampler.open(network, schedule, parts, backend);
  try {
    return await sampler.walk(requests, { parameters: initialAdapter(layout, 1), strength: 1 });
  } finally {
    await sampler.dispose();
  }
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(b.length).toBe(a.length);
  return Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]!)));
}

describe("a walk of a consistency model", () => {
  it("makes the pictures of the consistency sampler", async () => {
    const opened = await open(world.model, steps - 1);
    const { model, contexts, requests } = opened;
    const schedule = consistencySchedule(model.parts.scheduler, { steps, timesteps: "linspace", lastStepNoise: false });
    expect(noiseCount(schedule)).toBe(steps - 1);
    const found = await walk(opened, schedule, false);
    const sampler = await ImageSampler.open(model, { settings: { steps, timesteps: "linspace", guidanceScale }, batchSize: 2, contextShape: contexts.shape }, backend);
    const expected = await sampler.sample(requests);
    await sampler.dispose();
    expect(found.x).toHaveLength(steps + 1);
    for (const [row, picture] of found.pictures.entries()) expect(largestDifference(expected[row]!, picture)).toBeLessThan(1e-5);
  });

  it("with noise at the last step too decodes the same denoised latent, and scores one step more", async () => {
    const opened = await open(world.model, steps);
    const options = { steps, timesteps: "linspace", lastStepNoise: false } as const;
    const plain = consistencySchedule(opened.model.parts.scheduler, options);
    const noisy = consistencySchedule(opened.model.parts.scheduler, { ...options, lastStepNoise: true });
    const [a, b] = [await walk(opened, plain, false), await walk(opened, noisy, false)];
    for (const [row, picture] of a.pictures.entries()) expect(largestDifference(picture, b.pictures[row]!)).toBeLessThan(1e-5);
    expect(largestDifference(a.x[steps]!, b.x[steps]!)).toBeGreaterThan(1e-2);
    const scored = ({ steps: all }: PolicySchedule): number => all.filter((step) => step.scored !== undefined).length;
    expect([scored(plain), scored(noisy)]).toEqual([steps - 1, steps]);
  });
});

describe("a walk of a diffusion model", () => {
  it("passes through the states of stochastic DDIM with classifier-free guidance", async () => {
    const opened = await open(world.diffusion, steps);
    const { model, contexts, requests } = opened;
    const found = await walk(opened, diffusionSchedule(model.parts.scheduler, { steps, eta: 1 }), true);

    const parts = samplerParts(model);
    const stacked = (rows: readonly ArrayLike<number>[], shape: readonly number[]): ReturnType<typeof constant> => constant(Float64Array.from(rows.flatMap((row) => Array.from(row))), [rows.length, ...shape]);
    const empty = await contexts.empty();
    const run = sampleDdim(parts.unet, ddimSteps(parts.scheduler, steps, 1), stacked(requests.map(({ noise }) => noise.latent), model.latentShape), Array.from({ length: steps }, (_, i) => stacked(requests.map(({ noise }) => noise.steps[i]!), model.latentShape)), {
      scale: guidanceScale,
      context: stacked(requests.map(({ context }) => context), contexts.shape),
      uncondContext: stacked([empty, empty], contexts.shape),
    });
    const { image } = latentToImage(parts.vae.scope, parts.vae.config, run.sample);
    const executable = await backend.compile(program({ image, sample: run.sample, ...Object.fromEntries(run.x.map((x, i) => [`x.${i}`, x])) }));
    const expected = await executable.run({});
    await executable.dispose();
    for (const [i, x] of found.x.entries()) {
      const reference = expected[i === steps ? "sample" : `x.${i}`]!.data;
      expect(largestDifference(reference, x)).toBeLessThan(1e-4 * Math.max(1, ...Array.from(reference, Math.abs)));
    }
    expect(largestDifference(expected["image"]!.data, found.pictures.flatMap((picture) => [...picture]))).toBeLessThan(1e-3);
  });
});

describe("preferences", () => {
  it("compare the first pictures of a batch with the second ones", () => {
    expect([...preferencesOf([1, 5, 2, 5, 3, 0, 2, 1], 2)]).toEqual([-1, 0, 1, 0, 1, -1, -1, 1]);
  });
});
