import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { readCase, readCaseTensors } from "../replay/case-file.ts";
import { withTemporaryFolder } from "../testing/child.ts";
import { tinyPrompts, writeTinyWorld } from "../testing/tiny-world.ts";
import { adapterLayout, initialAdapter } from "./adapter.ts";
import { ImageSampler, pictureNoise, type SamplerSettings } from "./image-sampler.ts";
import { openModel } from "./open-model.ts";
import { TextContexts } from "./text-contexts.ts";

const samples = sharedPath("golden", "diffusion", "sample");

describe("image sampler", () => {
  it.skipIf(samples === undefined).each(["lcm-tiny-lcm-n1-w8", "lcm-tiny-lcm-n4-w8-skipping", "lcm-tiny-lcm-n8-w8"])("makes the reference's pictures: %s", async (name) => {
    const kase = await readCase(join(samples ?? "", name));
    const expected = (await readCaseTensors(join(samples ?? "", name, "expected.safetensors"))).get("image")!;
    const fields = kase.fields as { steps: number; timesteps: SamplerSettings["timesteps"]; guidanceScale: number; prompts: string[] };
    const backend = nodeBackend({ threads: 1 });
    const model = await openModel(kase.model ?? "");
    const contexts = new TextContexts(model, backend, () => {});
    const { steps, timesteps, guidanceScale, prompts } = fields;
    const sampler = await ImageSampler.open(model, { settings: { steps, timesteps, guidanceScale }, batchSize: 1, contextShape: contexts.shape }, backend);
    const size = model.latentShape.reduce((product, value) => product * value, 1);
    const noise = kase.inputs.get("noise")?.data ?? new Float64Array();
    const requests = [];
    for (const [row, prompt] of prompts.entries()) {
      const part = (data: Float64Array, place: number): Float64Array => data.subarray(place * size, (place + 1) * size);
      const steps_ = Array.from({ length: steps - 1 }, (_, step) => part(noise, step * prompts.length + row));
      requests.push({ context: await contexts.of(prompt), noise: { latent: part(kase.inputs.get("latents")!.data, row), steps: steps_ } });
    }
    const pictures = await sampler.sample(requests);
    const values = pictures.flatMap((picture) => [...picture]);
    expect(values.length).toBe(expected.data.length);
    const error = Math.max(...values.map((value, i) => Math.abs(value - expected.data[i]!)));
    expect(error).toBeLessThan(2e-4);
    await sampler.dispose();
    await contexts.dispose();
  });

  it("makes the same bits of a picture alone, in any company, in any batch, with any threads, and with an adapter of zeros", () =>
    withTemporaryFolder(async (folder) => {
      const model = await openModel((await writeTinyWorld(folder, 4)).model);
      const layout = adapterLayout(model, { rank: 2, alpha: 2, targets: ["to_q", "to_k", "to_v", "to_out.0"] });
      const make = async (order: readonly number[], batchSize: number, threads: number, isTuned: boolean): Promise<Map<number, Float32Array>> => {
        const backend = nodeBackend({ threads });
        const contexts = new TextContexts(model, backend, () => {});
        const sampler = await ImageSampler.open(model, { settings: { steps: 3, timesteps: "linspace", guidanceScale: 4 }, batchSize, contextShape: contexts.shape, ...(isTuned ? { layout } : {}) }, backend);
        const requests = [];
        for (const index of order) requests.push({ context: await contexts.of(tinyPrompts[index]!), noise: pictureNoise({ seed: 2, stream: "noise", index }, model.latentShape, 3) });
        const pictures = await sampler.sample(requests, isTuned ? { parameters: initialAdapter(layout, 0), strength: 1 } : undefined);
        await sampler.dispose();
        await contexts.dispose();
        return new Map(order.map((index, row) => [index, pictures[row]!]));
      };
      const reference = await make([0, 1, 2, 3, 4, 5], 1, 1, false);
      for (const [order, batchSize, threads, isTuned] of [[[5, 4, 3, 2, 1, 0], 4, 1, false], [[3], 8, 1, false], [[2, 5, 0], 2, 2, false], [[0, 1, 2, 3, 4, 5], 4, 1, true]] as const) {
        for (const [index, picture] of await make(order, batchSize, threads, isTuned)) expect(Buffer.from(picture.buffer).equals(Buffer.from(reference.get(index)!.buffer)), `${index} of ${order.join()}`).toBe(true);
      }
    }));

  it("addresses noise by picture and step", () => {
    const a = pictureNoise({ seed: 1, stream: "noise", index: 7 }, [4, 2, 2], 3);
    const b = pictureNoise({ seed: 1, stream: "noise", index: 7 }, [4, 2, 2], 8);
    expect([...b.latent]).toEqual([...a.latent]);
    expect([...b.steps[1]!]).toEqual([...a.steps[1]!]);
    expect([...pictureNoise({ seed: 1, stream: "noise", index: 8 }, [4, 2, 2], 3).latent]).not.toEqual([...a.latent]);
  });
});
