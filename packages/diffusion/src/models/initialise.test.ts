import { describe, expect, it } from "vitest";

import { autoencoderParameters, parseAutoencoderConfig } from "./autoencoder.ts";
import { clipParameters, parseClipConfig } from "./clip.ts";
import { clipTextParameters, parseClipTextConfig } from "./clip-text.ts";
import { initialise } from "./initialise.ts";
import type { Parameter } from "./scope.ts";

const total = (parameters: readonly Parameter[]): number =>
  parameters.reduce((count, { shape }) => count + shape.reduce((product, size) => product * size, 1), 0);

describe("model parameters", () => {
  it("are as many as in published models", () => {
    const vae = { block_out_channels: [128, 256, 512, 512], layers_per_block: 2, down_block_types: Array(4).fill("DownEncoderBlock2D"), up_block_types: Array(4).fill("UpDecoderBlock2D") };
    expect(total(autoencoderParameters(parseAutoencoderConfig(vae)))).toBe(83_653_863);
    const text = { hidden_size: 768, intermediate_size: 3072, num_attention_heads: 12 };
    expect(total(clipTextParameters(parseClipTextConfig(text)))).toBe(123_060_480);
    const large = {
      projection_dim: 1024,
      text_config: { hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, num_attention_heads: 16, hidden_act: "gelu" },
      vision_config: { hidden_size: 1280, intermediate_size: 5120, num_hidden_layers: 32, num_attention_heads: 16, patch_size: 14, hidden_act: "gelu" },
    };
    expect(total(clipParameters(parseClipConfig(large)))).toBe(986_109_441);
  });

  it("refuse activations and sizes that make no sense, naming the key", () => {
    expect(() => parseClipTextConfig({ hidden_act: "gelu_new" })).toThrow(/hidden_act.*gelu_new/);
    expect(() => parseClipTextConfig({ hidden_size: 10, num_attention_heads: 3 })).toThrow(/hidden_size/);
    expect(() => parseAutoencoderConfig({ block_out_channels: [6], norm_num_groups: 4 })).toThrow(/norm_num_groups/);
    expect(() => parseAutoencoderConfig({ shift_factor: 0.1 })).toThrow(/shift_factor/);
  });
});

describe("initialise", () => {
  const parameters: Parameter[] = [
    { key: "a.weight", shape: [200, 100], initial: { kind: "uniform", bound: 0.1 } },
    { key: "b.weight", shape: [200, 100], initial: { kind: "normal", std: 0.02 } },
    { key: "norm.weight", shape: [5], initial: { kind: "constant", value: 1 } },
  ];
  const spread = (values: Float32Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);

  it("draws from the stated distributions", () => {
    const values = initialise(parameters, 3);
    expect(spread(values.get("a.weight")!)).toBeCloseTo(0.1 / Math.sqrt(3), 3);
    expect(values.get("a.weight")!.every((x) => Math.abs(x) <= 0.1)).toBe(true);
    expect(spread(values.get("b.weight")!)).toBeCloseTo(0.02, 3);
    expect([...values.get("norm.weight")!]).toEqual([1, 1, 1, 1, 1]);
  });

  it("depends on the seed and the key only", () => {
    const whole = initialise(parameters, 3);
    expect(initialise([parameters[1]!], 3).get("b.weight")).toEqual(whole.get("b.weight"));
    expect(initialise([parameters[1]!], 4).get("b.weight")).not.toEqual(whole.get("b.weight"));
  });
});
