import { blipImageEmbedding, blipImageTokens, blipJointClass, blipMatchLogits, blipParameters, blipTextClass, blipTextEmbedding, initialise, normalizePixels, parseBlipConfig } from "@tastemaker/diffusion";
import { input, program, type Tensor, uniform } from "@tastemaker/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { nodeBackend } from "../platform/runtime.ts";
import { blipLosses } from "./blip-losses.ts";
import { trainableScope } from "./trainable.ts";

const config = parseBlipConfig({
  embed_dim: 4,
  vision: { width: 8, layers: 1, heads: 2, patch_size: 4, image_size: 8 },
  text: { hidden_size: 8, layers: 1, heads: 2, vocab_size: 9, max_position_embeddings: 5 },
});
const backend = nodeBackend({ threads: 1 });
// Large tables, so that words and pictures differ much.
const values = new Map([...initialise(blipParameters(config), 4)].map(([key, data]) => [key, /embeddings\.weight|pos_embed/.test(key) ? data.map((x) => 50 * x) : data]));
const image = Float32Array.from(uniform({ seed: 1, stream: "pictures", indices: [] }, 3 * 192));
/** The first two captions are the same. */
const ids = Int32Array.from([2, 5, 6, 3, 0, 2, 5, 6, 3, 0, 2, 7, 3, 0, 0]);
const mask = ids.map((id) => Math.min(id, 1));
const same = Float32Array.from([1, 1, 0, 1, 1, 0, 0, 0, 1]);
const leaves = (count: number): { image: Tensor; ids: Tensor; mask: Tensor } => ({ image: input("image", [count, 3, 8, 8]), ids: input("ids", [count, 5], "int32"), mask: input("mask", [count, 5], "int32") });

async function run(outputs: Record<string, Tensor>, feeds: Record<string, Float32Array | Int32Array>): Promise<Record<string, number[]>> {
  const traced = program(outputs);
  const executable = await backend.compile(traced);
  const parameters = Object.fromEntries(traced.inputs.flatMap(({ name }) => (values.has(name) ? [[name, values.get(name)!]] : [])));
  const results = await executable.run({ ...parameters, ...feeds });
  await executable.dispose();
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, [...data]]));
}

/** The losses with noise that makes one wrong text certain for each picture, and one wrong picture for each text. */
async function lossesWith(texts: readonly number[], pictures: readonly number[], sameCaptions: Float32Array = same): Promise<{ contrastive: number; matching: number }> {
  const square = (name: string): Tensor => input(name, [3, 3]);
  const { contrastive, matching } = blipLosses(trainableScope(""), config, { ...leaves(3), same: square("same"), noise: [square("text"), square("picture")] });
  const at = (isChosen: (row: number, column: number) => boolean): Float32Array => Float32Array.from({ length: 9 }, (_, i) => 1000 * Number(isChosen(Math.floor(i / 3), i % 3)));
  const feeds = { image, ids, mask, same: sameCaptions, text: at((row, column) => texts[column] === row), picture: at((row, column) => pictures[row] === column) };
  const found = await run({ contrastive, matching }, feeds);
  return { contrastive: found["contrastive"]![0]!, matching: found["matching"]![0]! };
}

/** −log of the probability of the right answer for one text and one picture. */
async function surprise(text: number, picture: number): Promise<number> {
  const scope = trainableScope("");
  const one = leaves(1);
  const logits = blipMatchLogits(scope, blipJointClass(scope, config, one.ids, one.mask, blipImageTokens(scope, config, normalizePixels(one.image))));
  const feeds = { image: image.slice(192 * picture, 192 * (picture + 1)), ids: ids.slice(5 * text, 5 * (text + 1)), mask: mask.slice(5 * text, 5 * (text + 1)) };
  const [no, yes] = (await run({ logits }, feeds))["logits"] as [number, number];
  return Math.log(Math.exp(no) + Math.exp(yes)) - (text === picture ? yes : no);
}

const mean = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0) / numbers.length;

describe("BLIP's losses", () => {
  let pairs: number[];
  beforeAll(async () => {
    pairs = await Promise.all([0, 1, 2].map((i) => surprise(i, i)));
  });

  it("ask of each pair, each text with a wrong picture and each picture with a wrong text whether they belong together", async () => {
    for (const choice of [0, 1]) {
      const wrong = await Promise.all([surprise(0, 2), surprise(1, 2), surprise(2, choice), surprise(2, 0), surprise(2, 1), surprise(choice, 2)]);
      const { matching } = await lossesWith([2, 2, choice], [2, 2, choice]);
      expect(matching).toBeCloseTo(mean([...pairs, ...wrong]), 5);
    }
    expect((await lossesWith([2, 2, 0], [2, 2, 0])).matching).not.toBeCloseTo((await lossesWith([2, 2, 1], [2, 2, 1])).matching, 5);
  });

  it("take no equal caption for a wrong one, whatever the noise, and no wrong one where all captions are equal", async () => {
    expect((await lossesWith([1, 0, 0], [1, 0, 0])).matching).toBe((await lossesWith([2, 2, 0], [2, 2, 0])).matching);
    expect((await lossesWith([1, 2, 0], [1, 2, 0], new Float32Array(9).fill(1))).matching).toBeCloseTo(mean(pairs), 5);
  });

  it("compare all texts with all pictures both ways, where equal captions share the target", async () => {
    const scope = trainableScope("");
    const all = leaves(3);
    const pictures = blipImageEmbedding(scope, config, blipImageTokens(scope, config, normalizePixels(all.image)));
    const texts = blipTextEmbedding(scope, config, blipTextClass(scope, config, all.ids, all.mask));
    const found = await run({ pictures, texts }, { image, ids, mask });
    const unit = (rows: number[], row: number): number[] => {
      const own = rows.slice(4 * row, 4 * row + 4);
      return own.map((x) => x / Math.hypot(...own));
    };
    const score = (text: number, picture: number): number => unit(found["texts"]!, text).reduce((total, x, i) => total + x * unit(found["pictures"]!, picture)[i]!, 0) / 0.07;
    const entropy = (scores: readonly number[], right: readonly number[]): number => Math.log(scores.reduce((total, x) => total + Math.exp(x), 0)) - mean(right.map((i) => scores[i]!));
    const rights = [[0, 1], [0, 1], [2]];
    const rows = rights.map((right, i) => entropy([0, 1, 2].map((j) => score(i, j)), right));
    const columns = rights.map((right, i) => entropy([0, 1, 2].map((j) => score(j, i)), right));
    expect((await lossesWith([2, 2, 0], [2, 2, 0])).contrastive).toBeCloseTo((mean(rows) + mean(columns)) / 2, 4);
  });
});
