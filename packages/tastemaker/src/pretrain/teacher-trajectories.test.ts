import { parseSchedulerConfig, parseUNetConfig, signalAndNoise, unet, unetParameters, initialise, scopeOf, timestepEmbedding } from "@tastemaker/diffusion";
import { constant, input, normal, program, referenceBackend } from "@tastemaker/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { VisitOrder } from "../data/captioned-images.ts";
import { constantModel, tinyUNetJson } from "../testing/constant-model.ts";
import type { Teacher } from "./distill-objective.ts";
import { lcmSchedulerJson } from "./distill-stage.ts";
import type { LatentCache } from "./latent-cache.ts";
import { type Trajectories, TrajectoryMaker } from "./teacher-trajectories.ts";

const shape = [4, 4, 4] as const;
const each = 64;
const contextShape = [3, 6] as const;
const scheduler = parseSchedulerConfig(lcmSchedulerJson);
const backend = referenceBackend(({ key }) => {
  throw new Error(`no stored weights here, got ${key}`);
});
const pictures = ["a cat", "a dog", "a fox", "a red house", "a ship"];

/** Contexts that depend on the caption alone. */
const contextOf = (caption: string): Float32Array => Float32Array.from(normal({ seed: 5, stream: caption, indices: [] }, 18));

const config = parseUNetConfig(tinyUNetJson);
const values = initialise(unetParameters(config), 3);
const scope = scopeOf((key, size) => constant(values.get(key)!, size));
const teacher: Teacher = {
  unet: { scope, config, json: {} },
  values,
  vae: { ...constantModel(1).vae, weights: undefined as never, json: {}, hash: "" },
  contextShape,
  contexts: (captions) => Promise.resolve(Float32Array.from(captions.flatMap((caption) => [...contextOf(caption)]))),
};
const cache: LatentCache = { count: pictures.length, captions: pictures, shape, data: Float32Array.from(normal({ seed: 2, stream: "latents", indices: [] }, pictures.length * each)) };
const plan = { seed: 9, round: 2, count: 7, guidance: [2, 6] as const };

async function make(lanes: number, batch: number): Promise<Trajectories> {
  const maker = await TrajectoryMaker.open(teacher, cache, scheduler, new VisitOrder(1, cache.count), { batch, lanes }, backend);
  const made = await maker.make(plan, () => {});
  await maker.dispose();
  return made;
}

/** The teacher's guided noise at one point, computed alone. */
async function guidedNoise(x: Float32Array, timestep: number, caption: string, guidance: number): Promise<Float64Array> {
  const context = input("context", [1, ...contextShape]);
  const sinusoid = constant(timestepEmbedding(timestep, 4), [1, 4]);
  const executable = await backend.compile(program({ noise: unet(scope, config, { sample: input("sample", [1, ...shape]), sinusoid, context }) }));
  const predict = async (text: string): Promise<ArrayLike<number>> => (await executable.run({ sample: Float64Array.from(x), context: Float64Array.from(contextOf(text)) }))["noise"]!.data;
  const [u, c] = [await predict(""), await predict(caption)];
  return Float64Array.from(c, (value, i) => u[i]! + guidance * (value - u[i]!));
}

describe("trajectories of a teacher", () => {
  let made: Trajectories;
  beforeAll(async () => {
    made = await make(1, 3);
  });
  const pointsOf = (owner: number): number[] => [...made.owners.keys()].filter((point) => made.owners[point] === owner);
  const timestep = (point: number): number => 20 * (made.positions[point]! + 1) - 1;
  const sampleAt = (point: number): Float32Array => made.samples.subarray(point * each, (point + 1) * each);

  it("take guided DDIM steps of two or three cells of the grid down to the clean latent", async () => {
    for (const owner of [0, 3, 6]) {
      const points = pointsOf(owner);
      for (const [i, point] of points.entries()) {
        const following = points[i + 1];
        const noise = await guidedNoise(sampleAt(point), timestep(point), made.captions[owner]!, made.guidance[owner]!);
        const now = signalAndNoise(scheduler, timestep(point));
        const then = following === undefined ? { a: 1, sigma: 0 } : signalAndNoise(scheduler, timestep(following));
        const reached = following === undefined ? made.ends.subarray(owner * each, (owner + 1) * each) : sampleAt(following);
        if (following !== undefined) expect([2, 3]).toContain(made.positions[point]! - made.positions[following]!);
        else expect(made.positions[point]).toBeLessThan(3);
        const expected = Array.from(sampleAt(point), (x, k) => (then.a * (x - now.sigma * noise[k]!)) / now.a + then.sigma * noise[k]!);
        const scale = Math.max(...expected.map(Math.abs));
        expected.forEach((value, k) => expect(Math.abs(reached[k]! - value) / scale).toBeLessThan(1e-5));
      }
    }
  });

  it("begin with pure noise at the top or with a noisy picture anywhere", () => {
    const starts = made.captions.map((_, owner) => made.positions[pointsOf(owner)[0]!]!);
    expect(starts.some((position) => position === 49)).toBe(true);
    expect(starts.some((position) => position < 49)).toBe(true);
    expect([...made.guidance].every((scale) => scale >= 2 && scale <= 6)).toBe(true);
  });

  it("do not depend on how many are walked at the same time", async () => {
    const other = await make(3, 2);
    expect([...other.positions]).toEqual([...made.positions]);
    expect([...other.owners]).toEqual([...made.owners]);
    other.samples.forEach((value, i) => expect(Math.abs(value - made.samples[i]!)).toBeLessThan(1e-5 * (1 + Math.abs(value))));
    other.ends.forEach((value, i) => expect(Math.abs(value - made.ends[i]!)).toBeLessThan(1e-5 * (1 + Math.abs(value))));
  });
});
