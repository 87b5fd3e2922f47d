import { describe, expect, it } from "vitest";

import { parseClipConfig } from "./clip.ts";

describe("a CLIPModel's config.json", () => {
  const text_config = { hidden_size: 24, num_attention_heads: 3, eos_token_id: 2, hidden_act: "gelu" };
  const vision_config = { hidden_size: 40, num_attention_heads: 5, patch_size: 7, image_size: 28 };

  it("counts by its *_config_dict alone where it has one, defaults included, as in transformers", () => {
    const both = parseClipConfig({ text_config, vision_config, text_config_dict: { hidden_size: 512 }, vision_config_dict: { patch_size: 14 } });
    expect(both.text).toMatchObject({ width: 512, heads: 8, eosTokenId: 49407, activation: "quick_gelu" });
    expect(both.vision).toMatchObject({ width: 768, heads: 12, patchSize: 14, imageSize: 224 });
  });

  it("counts by *_config where the other is null or absent", () => {
    const expected = parseClipConfig({ text_config, vision_config });
    expect(expected.text).toMatchObject({ width: 24, heads: 3, eosTokenId: 2, activation: "gelu" });
    expect(parseClipConfig({ text_config, vision_config, text_config_dict: null, vision_config_dict: null })).toEqual(expected);
  });
});
