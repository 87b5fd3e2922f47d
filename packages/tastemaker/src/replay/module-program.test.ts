import { collectParameters, parseAutoencoderConfig, parseUNetConfig } from "@tastemaker/diffusion";
import { input } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";
import { tinyUNetJson } from "../testing/constant-model.ts";
import { type ComponentConfig, type ModuleFields, moduleOutputs } from "./module-program.ts";

const unet: ComponentConfig = {
  component: "unet",
  unet: parseUNetConfig({ ...tinyUNetJson, transformer_layers_per_block: [2, 3] }),
};
const vae: ComponentConfig = { component: "vae", vae: parseAutoencoderConfig({ block_out_channels: [4, 8, 12], layers_per_block: 1, norm_num_groups: 2, down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"], up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"] }) };

/** Keys that a module asks for, relative to its path, and the shape of its output. */
function built(config: ComponentConfig, fields: Pick<ModuleFields, "path" | "op">, shapes: Readonly<Record<string, readonly number[]>>): { keys: string[]; shape: readonly number[] } {
  const leaves = new Map(Object.entries(shapes).map(([name, shape]) => [name, input(name, shape)]));
  let shape: readonly number[] = [];
  const parameters = collectParameters((scope) => {
    shape = moduleOutputs({ component: config.component, ...fields }, config, scope, leaves)["out"]!.shape;
  });
  return { keys: parameters.map(({ key }) => key), shape };
}

describe("modules of a network by their path", () => {
  it.each([
    ["down_blocks.0.attentions.0", 4, 2],
    ["mid_block.attentions.0", 8, 3],
    ["up_blocks.1.attentions.0", 4, 2],
  ])("%s has the transformer blocks of its level", (path, channels, blocks) => {
    const { keys } = built(unet, { path, op: "transformer" }, { x: [1, channels, 2, 2], context: [1, 3, 6] });
    expect(new Set(keys.map((key) => /^transformer_blocks\.(\d+)\./.exec(key)?.[1]).filter((index) => index !== undefined)).size).toBe(blocks);
  });

  it.each([
    ["encoder.down_blocks.0.resnets.0", 4, 4],
    ["encoder.down_blocks.1.resnets.0", 4, 8],
    ["encoder.mid_block.resnets.1", 12, 12],
    ["decoder.up_blocks.0.resnets.0", 12, 12],
    ["decoder.up_blocks.2.resnets.0", 8, 4],
  ])("%s has the channels of its level", (path, from, to) => {
    expect(built(vae, { path, op: "resnet" }, { x: [1, from, 2, 2] }).shape).toEqual([1, to, 2, 2]);
  });

  it("refuses a level that the network does not have", () => {
    expect(() => built(vae, { path: "decoder.up_blocks.3.resnets.0", op: "resnet" }, { x: [1, 4, 2, 2] })).toThrow(/one of 3 levels, got decoder\.up_blocks\.3/);
  });
});
