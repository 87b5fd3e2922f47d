import { mkdtempSync, rmSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pictureOf } from "@tastemaker/diffusion";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openAdapter } from "../models/adapter.ts";
import { pictureNoise } from "../models/image-sampler.ts";
import { openModel } from "../models/open-model.ts";
import { samplerParts } from "../models/sampler-parts.ts";
import { TextContexts } from "../models/text-contexts.ts";
import { AdaptedNetwork } from "../models/adapted-network.ts";
import { diffusionSchedule, noiseCount } from "../models/policy-schedule.ts";
import { PolicySampler } from "../models/policy-sampler.ts";
import { nodeBackend } from "../platform/runtime.ts";
import type { EvaluationRecord } from "../report/report-data.ts";
import { type Ended, runInProcess } from "../testing/in-process.ts";
import { tinyHeldOutPrompts, tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";
import { pictureHash } from "./content-key.ts";
import { decodePng } from "../images/read-picture.ts";
import type { EvaluationFile } from "./record.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-evaluate-diffusion-"));
let world: Awaited<ReturnType<typeof writeTinyWorld>>;
let run = "";
const eta = 0.5;

beforeAll(async () => {
  world = await writeTinyWorld(folder, 1);
  // The tiny configuration's beta belongs to rocm.
  const { beta: _beta, ...config } = tinyTrainConfig({ ...world, model: world.diffusion }, { objective: "ddpo" }) as { beta: unknown };
  const path = join(folder, "train.json");
  await writeFile(path, JSON.stringify({ ...config, seed: 5, steps: 4, guidanceScale: 3, iterations: 3, batchSize: 2, learningRate: 1e-2, policy: { samplesPerIteration: 4, eta } }));
  run = join(folder, "ddpo");
  const end = await runInProcess("train", "-c", path, "--out", run);
  expect(end.code, end.stderr).toBe(0);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let caches = 0;
beforeEach(() => {
  process.env["TASTEMAKER_CACHE"] = join(folder, `cache-${caches++}`);
  process.env["HF_HUB_OFFLINE"] = "1";
  process.env["HF_HUB_CACHE"] = join(folder, "hub");
});

const metrics = (): string[] => ["--metrics", `aesthetic=${world.taste}`];
const verify = (file: string): Promise<Ended> => runInProcess("--json", "evaluate", "--verify", file, "--threads", "1");
const readRecord = async (out: string): Promise<EvaluationFile> => JSON.parse(await readFile(join(out, "evaluation.json"), "utf8")) as EvaluationFile;

async function evaluate(out: string, ...args: string[]): Promise<EvaluationFile> {
  const end = await runInProcess("--json", "evaluate", ...args, ...metrics(), "--seeds", "1", "--threads", "1", "--out", join(folder, out));
  expect(end.code, end.stderr).toBe(0);
  return readRecord(join(folder, out));
}

describe("an evaluation of a diffusion model", () => {
  it("of a run shows the very pictures and scores of the run's own comparison, and holds", async () => {
    const own = JSON.parse(await readFile(join(run, "evaluation.json"), "utf8")) as EvaluationRecord;
    const file = await evaluate("own", run);
    expect(file.settings.ddim).toEqual({ steps: 4, eta, guidanceScale: 3 });
    expect(file.settings).not.toHaveProperty("timesteps");
    const [base, tuned] = file.variants;
    expect([base!.sampler, tuned!.sampler]).toEqual(["ddim", "ddim"]);
    expect(base!.measured.scores["aesthetic"]).toEqual(own.metrics["aesthetic"]!.base);
    expect(tuned!.measured.scores["aesthetic"]).toEqual(own.metrics["aesthetic"]!.tuned);
    for (const [index, { tuned: name }] of own.images.entries()) expect(pictureHash((await decodePng(await readFile(join(run, name))))!)).toBe(tuned!.pictures[index]);
    expect(await readFile(join(folder, "own", "evaluation.html"), "utf8")).toContain("DDIM eta");
    const end = await verify(join(folder, "own", "evaluation.json"));
    expect(end.code, end.stderr + end.stdout).toBe(0);
    expect(JSON.parse(end.stdout)).toMatchObject({ holds: true, exact: true });
  });

  it("has other pictures in the cache for another eta, and is found out when the record says another one", async () => {
    const usual = ["--model", world.diffusion, "--steps", "4", "--prompt", "a blue fox", "--prompt", "a big cat"];
    const half = await evaluate("half", ...usual, "--eta", "0.5");
    const none = await evaluate("none", ...usual, "--eta", "0");
    expect(half.settings.ddim).toEqual({ steps: 4, eta: 0.5, guidanceScale: 5 });
    expect(none.variants[0]!.pictures).not.toEqual(half.variants[0]!.pictures);
    const path = join(folder, "none", "evaluation.json");
    await writeFile(path, JSON.stringify({ ...none, settings: { ...none.settings, ddim: { ...none.settings.ddim, eta: 0.1 } } }));
    const changed = await verify(path);
    expect(changed.code).toBe(1);
    expect(changed.stdout).toContain("picture of base");
    // A record whose sampler has no settings is damaged.
    const { ddim: _ddim, ...rest } = none.settings;
    await writeFile(path, JSON.stringify({ ...none, settings: rest }));
    expect((await verify(path)).stderr).toContain("expected settings of the sampler of base, got none");
  });

  it("beside a consistency model samples each as is usual for it, and leaves the consistency model's pictures as they are", async () => {
    const prompts = ["--prompt", "a blue fox", "--prompt", "a big cat"];
    const both = await evaluate("both", "--model", world.model, "--compare", world.diffusion, "--steps", "3", "--eta", "0", ...prompts);
    expect(both.settings).toMatchObject({ steps: 3, timesteps: "linspace", guidanceScale: 8, ddim: { steps: 20, eta: 0, guidanceScale: 5 } });
    expect(both.variants.map(({ sampler }) => sampler)).toEqual([undefined, "ddim"]);
    const alone = await evaluate("alone", "--model", world.model, "--steps", "3", ...prompts);
    expect(alone.settings).not.toHaveProperty("ddim");
    expect(alone.variants[0]).not.toHaveProperty("sampler");
    expect(alone.variants[0]!.pictures).toEqual(both.variants[0]!.pictures);
    expect((await verify(join(folder, "both", "evaluation.json"))).code).toBe(0);
  });

  it.each([
    [/--timesteps: expected a consistency model, got .*diffusion, which DDIM samples/, (): string[] => ["--model", world.diffusion, "--timesteps", "skipping"]],
    [/--eta: expected a diffusion model, got .*model, a consistency model/, (): string[] => ["--model", world.model, "--eta", "0.5"]],
    [/--eta <x>' argument '1\.5' is invalid.*from 0 to 1/, (): string[] => ["--model", world.diffusion, "--eta", "1.5"]],
  ])("refuses settings of the other sampler: %s", async (message, args) => {
    const end = await runInProcess("evaluate", ...args(), "--prompt", "a cat", ...metrics(), "--out", join(folder, "never"));
    expect(end.stderr).toMatch(message);
    expect(end.code).toBe(2);
  });
});

describe("generate", () => {
  it("with an adapter that ddpo trained makes the picture that training's sampler makes of the same noise", async () => {
    const prompts = tinyHeldOutPrompts.slice(0, 3);
    const out = join(folder, "pictures");
    const end = await runInProcess("--json", "generate", ...prompts, "--adapter", run, "--steps", "4", "--guidance", "3", "--eta", String(eta), "--seed", "5", "--out", out, "--threads", "1");
    expect(end.code, end.stderr).toBe(0);
    const { pictures, model: path } = JSON.parse(end.stdout) as { pictures: { file: string }[]; model: string };
    // The run says which model its adapter belongs to.
    expect(path).toBe(world.diffusion);

    const backend = nodeBackend({ threads: 1 });
    const model = await openModel(world.diffusion);
    const contexts = new TextContexts(model, backend, () => {});
    const adapter = await openAdapter(run, model);
    const schedule = diffusionSchedule(model.parts.scheduler, { steps: 4, eta });
    const network = await AdaptedNetwork.open(samplerParts(model), { layout: adapter.layout, batchSize: 1, contextShape: contexts.shape, guidanceScale: 3, emptyContext: await contexts.empty() }, backend);
    const sampler = await PolicySampler.open(network, schedule, samplerParts(model), backend);
    const applied = { parameters: adapter.parameters, strength: 1 };
    for (const [index, prompt] of prompts.entries()) {
      const noise = pictureNoise({ seed: 5, stream: "generate", index }, model.latentShape, noiseCount(schedule) + 1);
      const [expected] = await sampler.sample([{ context: await contexts.of(prompt), noise }], applied);
      const found = await decodePng(await readFile(pictures[index]!.file));
      expect(pictureHash(found!)).toBe(pictureHash(pictureOf(expected!, model.imageSize, model.imageSize)));
    }
    await sampler.dispose();
    await contexts.dispose();
  });

  it("refuses eta for a consistency model", async () => {
    const end = await runInProcess("generate", "a cat", "--model", world.model, "--eta", "0.5", "--out", join(folder, "never.png"));
    expect(end).toMatchObject({ code: 2 });
    expect(end.stderr).toContain("--eta: expected a diffusion model");
  });
});
