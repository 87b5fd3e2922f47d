import { mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeSafetensors, type Picture, type TensorToStore } from "@tastemaker/diffusion";
import { afterAll, describe, expect, it } from "vitest";
import { nodeBackend } from "../platform/runtime.ts";
import { replayCase } from "../replay/replay-case.ts";
import { tinyBlipWeights, tinyOpenClipWeights, type TinyWeights, writeTinyReward } from "../testing/tiny-rewards.ts";
import { writeTinyWorld } from "../testing/tiny-world.ts";
import { openReward } from "./open-reward.ts";

const backend = nodeBackend({ threads: 1 });
const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-foreign-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const picture: Picture = { height: 11, width: 14, pixels: Uint8Array.from({ length: 3 * 154 }, (_, i) => (i * 61) & 255) };
let count = 0;

/** The score of a cat by weights and a `config.json`. */
async function scoreOf(name: string, weights: TinyWeights, config: Parameters<typeof writeTinyReward>[2] = {}, prompt: string = "a cat"): Promise<number> {
  const path = join(folder, String(count++));
  await writeTinyReward(path, weights, config);
  const reward = await openReward({ name, path }, backend, undefined);
  const [score] = await reward.score([picture], [prompt]);
  await reward.dispose();
  return score!;
}

/** The weights with some tensors replaced, or left out where there is nothing to replace them. */
function changed(weights: TinyWeights, changes: Readonly<Record<string, TensorToStore | undefined>>): TinyWeights {
  const result = new Map(weights);
  for (const [key, tensor] of Object.entries(changes)) {
    if (tensor === undefined) result.delete(key);
    else result.set(key, tensor);
  }
  return result;
}

const zeros = (...shape: number[]): TensorToStore => ({ dtype: "F32", shape, data: new Float32Array(shape.reduce((product, size) => product * size, 1)) });
const renamed = (weights: TinyWeights, prefix: string): TinyWeights => new Map([...weights].map(([key, tensor]) => [prefix + key, tensor]));

describe("what the weights do not tell is read from the config.json beside them", () => {
  it.each(["blip-score", "image-reward"] as const)("%s: the epsilon of either tower", async (name) => {
    const weights = tinyBlipWeights(1, 2, name === "image-reward");
    const plain = await scoreOf(name, weights);
    expect(await scoreOf(name, weights, { vision: { layer_norm_eps: 1e-6 }, text: { layer_norm_eps: 1e-12 } })).toBe(plain);
    expect(Math.abs((await scoreOf(name, weights, { vision: { layer_norm_eps: 0.1 } })) - plain)).toBeGreaterThan(1e-4);
    expect(Math.abs((await scoreOf(name, weights, { text: { layer_norm_eps: 0.1 } })) - plain)).toBeGreaterThan(1e-4);
  });

  it("open_clip: the size of a picture that is no multiple of its patches", async () => {
    const weights = tinyOpenClipWeights(2);
    const [whole, larger] = [await scoreOf("hpsv2", weights, { vision: { image_size: 8 } }), await scoreOf("hpsv2", weights, { vision: { image_size: 11 } })];
    expect(await scoreOf("hpsv2", weights)).toBe(whole);
    expect(larger).not.toBe(whole);
    await expect(scoreOf("hpsv2", weights, { vision: { image_size: 12 } })).rejects.toMatchObject({ name: "UsageError", code: "open-clip-size" });
  });
});

it("the pixel statistics of a CLIPModel are read from its preprocessor, one of the two alone, and where transformers 5 writes them", async () => {
  const { clip } = await writeTinyWorld(join(folder, "statistics"), 8);
  const scoreWith = async (files: Readonly<Record<string, object>>): Promise<number> => {
    for (const [name, content] of Object.entries(files)) await writeFile(join(clip, name), JSON.stringify(content));
    const reward = await openReward({ name: "clip-score", path: clip }, backend, undefined);
    const [score] = await reward.score([picture], ["a cat"]);
    await reward.dispose();
    for (const name of Object.keys(files)) rmSync(join(clip, name));
    return score!;
  };
  const image_mean = [0.9, 0.9, 0.9];
  const usual = await scoreWith({});
  const moved = await scoreWith({ "preprocessor_config.json": { image_mean, size: { shortest_edge: 8 }, crop_size: { height: 8, width: 8 }, do_pad: null, image_std: null } });
  expect(Math.abs(moved - usual)).toBeGreaterThan(1e-4);
  expect(await scoreWith({ "processor_config.json": { image_processor: { image_mean }, processor_class: "CLIPProcessor" } })).toBe(moved);
  expect(await scoreWith({ "processor_config.json": { processor_class: "CLIPProcessor" }, "preprocessor_config.json": { image_mean } })).toBe(moved);
});

it("a training checkpoint of open_clip scores as its bare weights, whatever lies beside its state_dict", async () => {
  const weights = tinyOpenClipWeights(3);
  const training = changed(renamed(weights, "state_dict.module."), { "optimizer.state.0.exp_avg": zeros(8), "optimizer.state.0.step": zeros(), epoch: zeros() });
  expect(await scoreOf("hpsv2", training)).toBe(await scoreOf("hpsv2", weights));
});

it("a prompt is read to the end of the model's context, not of CLIP's usual one", async () => {
  const weights = tinyOpenClipWeights(4, 100);
  const start = "a ".repeat(85);
  for (const name of ["hpsv2", "clip-score"]) {
    expect(await scoreOf(name, weights, {}, `${start} b`)).not.toBe(await scoreOf(name, weights, {}, `${start} c`));
    expect(await scoreOf(name, weights, {}, `${start.repeat(2)} b`)).toBe(await scoreOf(name, weights, {}, `${start.repeat(2)} c`));
  }
});

describe("files that do not fit are refused, before anything of their sizes is made", () => {
  const absurd = 2 ** 40;
  const blip = tinyBlipWeights(5, 2);
  const clip = tinyOpenClipWeights(5);
  const table = "visual_encoder.pos_embed";
  const cases: readonly (readonly [what: string, reward: string, weights: TinyWeights, config: Parameters<typeof writeTinyReward>[2], code: string])[] = [
    ["BLIP of an absurd picture size", "blip-score", blip, { vision: { image_size: absurd } }, "blip-size"],
    ["BLIP of a picture size beyond any memory", "blip-score", blip, { vision: { image_size: 100_000 } }, "blip-size"],
    ["BLIP of pictures smaller than a patch", "blip-score", blip, { vision: { image_size: 3 } }, "blip-size"],
    ["BLIP with heads that do not divide", "blip-score", blip, { text: { heads: 4 } }, "blip-heads"],
    ["BLIP with a position table that is no square", "blip-score", changed(blip, { [table]: zeros(1, 6, 8) }), {}, "position-table"],
    ["BLIP without positions", "blip-score", changed(blip, { [table]: zeros(1, 1, 8) }), {}, "position-table"],
    ["ImageReward as BLIP", "blip-score", tinyBlipWeights(5, 2, true), {}, "reward-kind"],
    ["CLIP of an absurd picture size", "hpsv2", clip, { vision: { image_size: absurd } }, "open-clip-size"],
    ["CLIP with absurd heads", "hpsv2", clip, { vision: { heads: absurd } }, "open-clip-heads"],
    ["CLIP with heads that do not divide", "hpsv2", clip, { text: { heads: 4 } }, "open-clip-heads"],
    ["CLIP of another width", "hpsv2", changed(clip, { "visual.conv1.weight": zeros(6, 3, 4, 4) }), {}, "weight-shape"],
    ["CLIP whose vocabulary is too small", "hpsv2", changed(clip, { "token_embedding.weight": zeros(300, 6) }), {}, "token-id"],
  ];

  it.each(cases)("%s", async (_, reward, weights, config, code) => {
    await expect(scoreOf(reward, weights, config)).rejects.toMatchObject({ name: "UsageError", code });
  });

  it("a CLIPModel whose config.json, preprocessor or vocabulary belongs to something else", async () => {
    const world = await writeTinyWorld(join(folder, "world"), 6);
    const read = async (name: string): Promise<Record<string, Record<string, unknown>>> => (await import(join(world.clip, name), { with: { type: "json" } })) as never;
    const { default: config } = await read("config.json");
    const { default: vocabulary } = await read("vocab.json");
    const refused = async (name: string, content: object, code: string): Promise<void> => {
      const original = { "config.json": config, "vocab.json": vocabulary }[name];
      await writeFile(join(world.clip, name), JSON.stringify(content));
      const reward = openReward({ name: "clip-score", path: world.clip }, backend, undefined);
      await expect(reward, JSON.stringify(content).slice(0, 300)).rejects.toMatchObject({ name: "UsageError", code });
      if (original === undefined) rmSync(join(world.clip, name));
      else await writeFile(join(world.clip, name), JSON.stringify(original));
    };
    const tower = (key: "text_config" | "vision_config", change: object): object => ({ ...config, [key]: { ...(config![key] as object), ...change } });
    for (const key of ["text_config", "vision_config"] as const) {
      for (const size of ["hidden_size", "num_hidden_layers", "intermediate_size"]) {
        // 2⁴⁰ is a multiple of the heads: only the weights tell.
        await refused("config.json", tower(key, { [size]: absurd }), size === "num_hidden_layers" ? "weight-missing" : "weight-shape");
      }
      await refused("config.json", tower(key, { num_attention_heads: 3 }), "model-config");
      await refused("config.json", tower(key, { layer_norm_eps: -1 }), "model-config");
    }
    for (const change of [{ max_position_embeddings: absurd }, { vocab_size: absurd }]) await refused("config.json", tower("text_config", change), "weight-shape");
    await refused("config.json", tower("text_config", { eos_token_id: -1 }), "model-config");
    await refused("config.json", tower("vision_config", { image_size: absurd }), "weight-shape");
    for (const other of [{ size: { height: 8, width: 8 } }, { crop_size: { height: 8, width: 9 } }, { do_rescale: false }, { rescale_factor: 1 }, { image_std: [0, 1, 1] }, { image_mean: [0, 0] }]) {
      await refused("preprocessor_config.json", other, "preprocessor-config");
    }
    await refused("vocab.json", { ...vocabulary, far: 10 ** 9 }, "tokenizer-vocabulary");
    await refused("processor_config.json", { image_processor: { size: 9 } }, "preprocessor-config");
  });
});

describe("a recorded case is refused", () => {
  const replayed = async (weights: TinyWeights, fields: object, inputs: TinyWeights = new Map()): Promise<unknown> => {
    const path = join(folder, `case-${count++}`);
    await writeTinyReward(path, weights);
    const { height, width, pixels } = picture;
    await writeFile(join(path, "inputs.safetensors"), encodeSafetensors(new Map([["image.0", { dtype: "U8", shape: [height, width, 3], data: pixels }], ...inputs])));
    await writeFile(join(path, "config.json"), JSON.stringify({ prompts: ["a cat"], pairs: [[0, 0]], vision: { heads: 2 }, text: { heads: 2 }, ...fields }));
    return replayCase(path, backend);
  };
  const blip = changed(tinyBlipWeights(7, 2), { "itm_head.weight": zeros(2, 6), "itm_head.bias": zeros(2) });

  it("with numbers out of reach, and where nothing but NaN comes out", async () => {
    await expect(replayed(blip, { kind: "blip", enc_token_id: 8 })).resolves.toBeInstanceOf(Map);
    const refusals: readonly (readonly [object, TinyWeights, string])[] = [
      [{ kind: "blip", max_length: 2 ** 40 }, blip, "case-invalid"],
      [{ kind: "blip", enc_token_id: 9 }, blip, "token-id"],
      [{ kind: "blip" }, changed(blip, { "text_encoder.embeddings.word_embeddings.weight": zeros(3, 6) }), "token-id"],
      [{ kind: "blip" }, changed(blip, { "vision_proj.bias": { dtype: "F32", shape: [5], data: new Float32Array(5).fill(Number.NaN) } }), "not-finite"],
      [{ kind: "hpsv2" }, changed(tinyOpenClipWeights(7), { "token_embedding.weight": zeros(300, 6) }), "token-id"],
    ];
    for (const [fields, weights, code] of refusals) await expect(replayed(weights, fields), JSON.stringify(fields)).rejects.toMatchObject({ name: "UsageError", code });
  });
});

describe("a head whose CLIP has gone", () => {
  it("is answered with the path where it should be", async () => {
    const { taste, clip } = await writeTinyWorld(join(folder, "gone"), 3);
    rmSync(clip, { recursive: true });
    await expect(openReward({ name: "aesthetic", path: taste }, backend, undefined)).rejects.toMatchObject({ name: "UsageError", code: "file-missing", message: expect.stringContaining(`got nothing (at ${clip})`) as string });
  });
});
