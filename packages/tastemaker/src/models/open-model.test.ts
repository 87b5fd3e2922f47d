import { describe, expect, it } from "vitest";
import { withTemporaryFolder } from "../testing/child.ts";
import { writeTinyWorld } from "../testing/tiny-world.ts";
import { isFullSize, openModel } from "./open-model.ts";

describe("a model's picture size", () => {
  it("is what it was trained for, or what is asked for", () =>
    withTemporaryFolder(async (folder) => {
      const { model } = await writeTinyWorld(folder, 1);
      expect(await openModel(model)).toMatchObject({ imageSize: 8, latentShape: [4, 4, 4] });
      const wider = await openModel(model, { imageSize: 12 });
      expect(wider).toMatchObject({ imageSize: 12, latentShape: [4, 6, 6] });
      expect(isFullSize(wider)).toBe(false);
      expect(isFullSize(await openModel(model, { imageSize: 128 }))).toBe(true);
      await expect(openModel(model, { imageSize: 11 })).rejects.toThrow("picture size: expected a multiple of 2 pixels, got 11; the nearest are 10 and 12");
    }));
});
