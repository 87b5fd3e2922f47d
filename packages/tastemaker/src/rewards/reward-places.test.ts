import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolveTrainConfig } from "../config/load-config.ts";
import { worldPart } from "../models/emoji-world.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { withTemporaryFolder } from "../testing/child.ts";
import { HubServer } from "../testing/hub-server.ts";
import { writeTinyWorld } from "../testing/tiny-world.ts";
import { pinnedWeights } from "../train/train-session.ts";
import { openOtherRewards, openReward, publishedFiles, rewardNames, rewardPlaces } from "./open-reward.ts";
import { placesOf } from "./reward-places.ts";

describe("the places of a reward", () => {
  const published = { path: "lab/score:w.pt", vocabulary: "lab/clip", clip: "lab/tower" };

  it("are those of the base model, else the published ones, where none are given", () => {
    const name = "score";
    const world = "/world/clip";
    expect(placesOf({ name }, { world, published }, "emoji")).toEqual({ path: world });
    expect(placesOf({ name, path: "emoji" }, { world, published }, "owner/model")).toEqual({ path: world });
    expect(placesOf({ name }, { world, published }, "owner/model")).toEqual(published);
    expect(placesOf({ name }, { published }, "emoji")).toEqual(published);
    expect(placesOf({ name, vocabulary: "mine.txt" }, { published }, undefined)).toEqual({ ...published, vocabulary: "mine.txt" });
    expect(() => placesOf({ name }, {}, undefined)).toThrow(/^reward score: expected the path of its weights, got none/);
    expect(() => placesOf({ name, path: "emoji" }, { published }, undefined)).toThrow(/^reward score: expected one that the embedded world has, got none/);
  });

  it("are completed where nothing can lie beside the weights, and otherwise left as they are", () => {
    for (const path of ["other/score:w.pt", "https://example.org/w.pt", "lab/score@v2:w.pt", "lab/score"]) {
      expect(placesOf({ name: "score", path }, { published }, undefined)).toEqual({ ...published, path });
      expect(placesOf({ name: "score", path, clip: "my/clip" }, { published }, undefined)).toEqual({ path, vocabulary: "lab/clip", clip: "my/clip" });
    }
    for (const path of ["other/score", "./w.pt", "weights/w.pt"]) expect(placesOf({ name: "score", path }, { published }, undefined)).toEqual({ path });
  });
});

describe("the embedded world's BLIP", () => {
  it("counts where it is built, else the published one", () => {
    const own = worldPart("blip");
    const published = publishedFiles("blip-score")![0]!.name;
    expect(rewardPlaces({ name: "blip-score" }, "emoji")?.path).toBe(existsSync(own) ? own : published);
    expect(rewardPlaces({ name: "blip-score" }, "owner/model")?.path).toBe(published);
  });

  it("is not measured unless it is named", async () => {
    const others = await openOtherRewards("emoji", [], nodeBackend({ threads: 1 }));
    expect(others.map(({ name }) => name)).toEqual(["clip-score", "aesthetic"]);
    for (const other of others) await other.dispose();
  });
});

describe("a published reward", () => {
  let hub: HubServer;
  beforeAll(async () => {
    hub = await HubServer.start();
  });
  afterAll(async () => hub.close());

  it("is fetched with the vocabulary that lies elsewhere, and recorded with the commits of both", () =>
    withTemporaryFolder(async (folder) => {
      const fetching = { variables: { HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, "hf") } };
      const { clip, model } = await writeTinyWorld(join(folder, "world"), 3);
      const vocabulary = await hub.addFolder("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", clip);
      for (const name of ["merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"]) await rm(join(clip, name));
      const weights = await hub.addFolder("yuvalkirstain/PickScore_v1", clip);
      const { rewards } = await pinnedWeights({ ...resolveTrainConfig(undefined, []), model, rewards: [{ name: "pick-score", weight: 1 }, { name: "clip-score", weight: 1, path: "emoji" }] }, fetching);
      expect(rewards).toEqual([
        { name: "pick-score", weight: 1, path: `yuvalkirstain/PickScore_v1@${weights}`, vocabulary: `laion/CLIP-ViT-H-14-laion2B-s32B-b79K@${vocabulary}` },
        { name: "clip-score", weight: 1, path: "emoji" },
      ]);
      const backend = nodeBackend({ threads: 1 });
      for (const setting of [{ name: "pick-score" }, rewards[0]!, { name: "pick-score", path: "yuvalkirstain/PickScore_v1" }]) {
        const reward = await openReward(setting, backend, model, fetching);
        const [score] = await reward.score([{ width: 8, height: 8, pixels: new Uint8Array(192).fill(90) }], ["a red cat"]);
        expect(score).toBeTypeOf("number");
        await reward.dispose();
      }
      expect(hub.requests("/resolve/").filter(({ url }) => url.includes("laion") && url.includes("safetensors"))).toEqual([]);
    }));

  it("can be fetched by its name", () => {
    expect(publishedFiles("image-reward")?.map(({ name }) => name)).toEqual(["THUDM/ImageReward:ImageReward.pt", "google-bert/bert-base-uncased:vocab.txt"]);
    expect(publishedFiles("emoji")).toBeUndefined();
    expect(rewardNames.filter((name) => publishedFiles(name) === undefined)).toEqual(["hpsv2", "compressibility", "incompressibility"]);
  });
});
