import { describe, expect, it } from "vitest";

import { memoryFile } from "../files/random-access-file.ts";
import { Checkpoint } from "../files/weights.ts";
import { openClip } from "./open-clip.ts";

/** A checkpoint of shapes alone. */
function shapesOf(vision: number, text: number): Checkpoint {
  const shapes: Readonly<Record<string, readonly number[]>> = {
    "visual.conv1.weight": [vision, 3, 14, 14],
    "visual.positional_embedding": [257, vision],
    "visual.proj": [vision, 768],
    "visual.transformer.resblocks.0.mlp.c_fc.weight": [4 * vision, vision],
    "token_embedding.weight": [49408, text],
    positional_embedding: [77, text],
    "transformer.resblocks.0.mlp.c_fc.weight": [4 * text, text],
  };
  const file = memoryFile("shapes", new Uint8Array());
  const entries = Object.entries(shapes).map(([key, shape]) => [key, { file, storedKey: key, dtype: "F16", shape, offset: 0, sizeBytes: 2 * shape.reduce((product, size) => product * size, 1) }] as const);
  return new Checkpoint(new Map(entries), "shapes");
}

describe("a CLIP under OpenAI's names", () => {
  it.each([
    ["ViT-B/16", 768, 512, 12, 8],
    ["ViT-L/14", 1024, 768, 16, 12],
    ["ViT-H-14", 1280, 1024, 16, 16],
    ["ViT-g-14", 1408, 1024, 16, 16],
    ["ViT-bigG-14", 1664, 1280, 16, 20],
  ])("%s has its published heads", (_, vision, text, visionHeads, textHeads) => {
    const { config } = openClip(shapesOf(vision, text), { activation: "gelu" });
    expect([config.vision.heads, config.text.heads]).toEqual([visionHeads, textHeads]);
    expect(config.vision).toMatchObject({ width: vision, imageSize: 224, patchSize: 14, layers: 1 });
  });
});
