import { existsSync } from "node:fs";
import { join } from "node:path";
import { mkdir, writeFile } from "node:fs/promises";
import { encodeSafetensors, type Picture, pictureOf } from "@tastemaker/diffusion";
import { gradients, input, program, sum } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { readCase, readCaseTensors } from "../replay/case-file.ts";
import { withTemporaryFolder } from "../testing/child.ts";
import { writeTinyWorld } from "../testing/tiny-world.ts";
import { worldPart } from "../models/emoji-world.ts";
import { openOtherRewards, openReward, rewardPlaces } from "./open-reward.ts";

const golden = sharedPath("golden", "diffusion");
const backend = nodeBackend({ threads: 1 });

describe("rewards", () => {
  it.skipIf(golden === undefined)("PickScore of the reference's pictures, from prompts to scores", async () => {
    const folder = join(golden ?? "", "rocm", "tiny-lcm-kl-mean-n4-b2-k4");
    const { prompts } = (await readCase(folder)).fields as { prompts: string[] };
    const expected = await readCaseTensors(join(folder, "expected.safetensors"));
    const { data, shape } = expected.get("image")!;
    const scoresOf = async (name: string): Promise<ArrayLike<number>> => {
      const reward = await openReward({ name, path: join(golden ?? "", "models", "tiny-pickscore") }, backend, undefined);
      const term = reward.gradient!.term(1, prompts.length);
      const texts = Object.fromEntries(Object.entries(term.inputs).map(([key, { shape: wanted, dtype }]) => [key, input(key, wanted, dtype)]));
      const executable = await backend.compile(program({ score: term.score(input("image", shape), texts) }));
      const { score } = await executable.run({ ...(await reward.gradient!.inputsFor(prompts)), image: data });
      await executable.dispose();
      await reward.dispose();
      return score!.data;
    };
    const scores = await scoresOf("pick-score");
    const cosines = await scoresOf("clip-score");
    for (const [row, value] of expected.get("reward")!.data.entries()) {
      expect(scores[row]).toBeCloseTo(value, 3);
      // The reference's logit scale is ln 20.
      expect(20 * cosines[row]!).toBeCloseTo(value, 3);
    }
  });

  it("the aesthetic head scores pictures alone, whatever the prompt, and has a gradient", () =>
    withTemporaryFolder(async (folder) => {
      const world = await writeTinyWorld(folder, 3);
      const reward = await openReward({ name: "aesthetic", path: world.taste }, backend, undefined);
      const values = (phase: number): Float32Array => Float32Array.from({ length: 3 * 64 }, (_, i) => 0.5 + 0.5 * Math.sin(i * 0.37 + phase));
      const picture = (phase: number): Picture => pictureOf(values(phase), 8, 8);
      const scores = await reward.score([picture(0), picture(1), picture(0)], ["a cat", "a cat", "a red dog"]);
      expect(scores[2]).toBe(scores[0]);
      expect(scores[1]).not.toBe(scores[0]);
      const image = input("image", [1, 3, 8, 8]);
      const slope = gradients(sum(reward.gradient!.term(1, 1).score(image, {})), [image])[0]!;
      const executable = await backend.compile(program({ slope }));
      const { slope: numbers } = await executable.run({ image: values(0) });
      expect(numbers!.data.some((value) => value !== 0)).toBe(true);
      await executable.dispose();
      await reward.dispose();
    }));

  it("belong to the model: the embedded world's for it, where it has one, the published ones for others", async () => {
    const ofWorld = await openReward({ name: "clip-score" }, backend, "emoji");
    const named = await openReward({ name: "clip-score", path: "emoji" }, backend, undefined);
    expect(named.files).toEqual(ofWorld.files);
    await expect(openReward({ name: "hpsv2.1", path: "emoji" }, backend, "emoji")).rejects.toMatchObject({ code: "reward-weights-missing" });
    for (const reward of [ofWorld, named]) await reward.dispose();
  });

  it.each(["pick-score", "hpsv2", "image-reward", "blip-score"] as const)("of the embedded world count where they are built, and are measured by name only: %s", async (name) => {
    const part = name === "blip-score" ? "blip" : name;
    const others = await openOtherRewards("emoji", [], backend);
    expect(others.map((other) => other.name)).toEqual(["clip-score", "aesthetic"]);
    for (const other of others) await other.dispose();
    if (!existsSync(worldPart(part))) {
      await expect(openReward({ name, path: "emoji" }, backend, "emoji")).rejects.toMatchObject({ code: "reward-weights-missing" });
      expect(rewardPlaces({ name: "pick-score" }, "emoji")).toMatchObject({ path: "yuvalkirstain/PickScore_v1" });
      return;
    }
    const reward = await openReward({ name }, backend, "emoji");
    expect(reward.files[0]).toContain(worldPart(part));
    await reward.dispose();
  });

  it("refuse heads that cannot be a score", () =>
    withTemporaryFolder(async (folder) => {
      const world = await writeTinyWorld(folder, 3);
      const broken = join(folder, "broken");
      await mkdir(broken);
      const write = async (config: object): Promise<void> => {
        await writeFile(join(broken, "config.json"), JSON.stringify(config));
        await writeFile(join(broken, "model.safetensors"), encodeSafetensors(new Map()));
      };
      const opened = (): Promise<unknown> => openReward({ name: "aesthetic", path: broken }, backend, undefined);
      await write({ clip: "../clip", layers: [2] });
      await expect(opened()).rejects.toMatchObject({ name: "UsageError", message: expect.stringContaining("expected 1 as the last layer's width, got 2") as string });
      await write({ layers: [1] });
      await expect(opened()).rejects.toMatchObject({ name: "UsageError", code: "head-config" });
      await expect(openReward({ name: "aesthetic", path: world.clip }, backend, undefined)).rejects.toMatchObject({ name: "UsageError", code: "head-config" });
      await expect(openReward({ name: "aesthetic", path: join(folder, "none") }, backend, undefined)).rejects.toMatchObject({ code: "reward-weights-missing" });
    }));
});
