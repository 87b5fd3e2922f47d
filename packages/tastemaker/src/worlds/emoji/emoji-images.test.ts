import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { EmojiImages } from "./emoji-images.ts";
import { imageSize, SceneRenderer } from "./renderer.ts";
import { resizeSprite } from "./resize-sprite.ts";
import { parseCaption } from "./scene.ts";
import { hasPicturePackages, loadSprites, type Sprite, type SpriteAtlas } from "./sprites.ts";
import { colors, objects, styles } from "./vocabulary.ts";

const worldDirectory = fileURLToPath(new URL("../../../../../worlds/emoji", import.meta.url));
const hasPictures =
  hasPicturePackages(worldDirectory) || existsSync(join(worldDirectory, "build", "sprites.bin"));
const ifPictures = hasPictures ? "" : " (skipped: run npm ci --prefix worlds/emoji)";

/** A half-transparent red disc. */
function disc(width: number, height: number): Sprite {
  const rgba = new Uint8Array(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (((2 * x + 1) / width - 1) ** 2 + ((2 * y + 1) / height - 1) ** 2 < 1)
        rgba.set([128, 0, 0, 128], 4 * (y * width + x));
    }
  }
  return { width, height, rgba };
}
const discs: SpriteAtlas = {
  sprite: (object) => (object === "penguin" ? disc(64, 128) : disc(128, 128)),
};

describe("sprites", () => {
  it("keep colour at or below alpha when resized, so that no halo appears", () => {
    const small = resizeSprite(disc(128, 100), 31, 24);
    for (let i = 0; i < small.rgba.length; i += 4) {
      expect(small.rgba[i]!).toBeLessThanOrEqual(small.rgba[i + 3]!);
      expect(small.rgba[i + 1]).toBe(0);
    }
    expect(small.rgba[4 * (12 * 31 + 15) + 3]).toBe(128);
    expect(small.rgba[3]).toBe(0);
  });
});

describe("rendered scenes", () => {
  const renderer = new SceneRenderer(discs);
  const address = (index: number) => ({ seed: 5, stream: "test", index });

  it("are a pure function of scene and address, within [0, 1]", () => {
    const scene = parseCaption("a cat next to a penguin on a red to blue background");
    const image = renderer.render(scene, address(3));
    expect(new SceneRenderer(discs).render(scene, address(3))).toEqual(image);
    expect(renderer.render(scene, address(4))).not.toEqual(image);
    expect(image.every((value) => value >= 0 && value <= 1)).toBe(true);
  });

  it("show the named colour at the corner, within 14 levels of 255", () => {
    for (const [i, { word, rgb }] of colors.entries()) {
      const image = renderer.render(
        parseCaption(`a small cat on a ${word} background`),
        address(i),
      );
      for (let c = 0; c < 3; c++)
        expect(Math.abs(image[c * imageSize ** 2]! * 255 - rgb[c]!)).toBeLessThanOrEqual(14);
    }
  });

  it("keep sizes apart and each object of a pair in its half", () => {
    const extent = (caption: string, index: number): [number, number] => {
      const image = renderer.render(parseCaption(caption), address(index));
      const covered = Array.from({ length: imageSize }, (_, x) => x).filter((x) =>
        Array.from(
          { length: imageSize },
          (_, y) => image[2 * imageSize ** 2 + y * imageSize + x]!,
        ).some((blue) => blue < 0.75),
      );
      return [covered[0]!, covered.at(-1)!];
    };
    for (let index = 0; index < 20; index++) {
      const side = (size: string): number => {
        const [left, right] = extent(`a ${size} cat`, index);
        return right - left + 1;
      };
      expect(side("small")).toBeLessThanOrEqual(32);
      expect(side("big")).toBeGreaterThanOrEqual(55);
      expect(extent("a penguin next to a cat", index)[0]).toBeGreaterThanOrEqual(0);
    }
  });
});

describe.skipIf(!hasPictures)(`the emoji world with its pictures${ifPictures}`, () => {
  it("holds every object in every style, trimmed, with some of it visible", async () => {
    const atlas = await loadSprites(worldDirectory);
    for (const style of styles) {
      for (const object of objects) {
        const { width, height, rgba } = atlas.sprite(object.word, style.word);
        expect(Math.max(width, height)).toBe(128);
        expect(rgba).toHaveLength(4 * width * height);
        const visible =
          rgba.filter((value, i) => i % 4 === 3 && value > 128).length / (width * height);
        expect(visible, `${object.word} in ${style.word}`).toBeGreaterThan(0.15);
      }
    }
  });

  it("gives the same picture for the same seed and index whatever the batch, and labels that agree with the caption", async () => {
    const images = await EmojiImages.open(worldDirectory, { seed: 9 });
    const { captions, pixels, labels } = await images.batch([7, 100_000, 7]);
    const alone = await images.get(100_000);
    const each = 3 * imageSize ** 2;
    expect(pixels.subarray(each, 2 * each)).toEqual(alone.pixels);
    expect(pixels.subarray(2 * each)).toEqual(pixels.subarray(0, each));
    expect(captions[1]).toBe(alone.caption);
    for (const [i, { scene, objects: indices }] of labels.entries()) {
      expect(captions[i]).toContain(objects[indices[0]]!.word);
      expect(indices[1] === -1).toBe(scene.objects.length === 1);
    }
    expect((await EmojiImages.open(worldDirectory, { seed: 10 })).sample(7).pixels).not.toEqual(
      pixels.subarray(0, each),
    );
  });
});

describe("a world without its pictures", () => {
  it("says how to install them", async () => {
    await expect(loadSprites("/nonexistent")).rejects.toThrow(/npm ci --prefix/);
  });
});
