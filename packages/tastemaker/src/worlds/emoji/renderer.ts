import { uniform } from "@tastemaker/tensor";
import { resizeSprite } from "./resize-sprite.ts";
import type { Scene } from "./scene.ts";
import type { Sprite, SpriteAtlas } from "./sprites.ts";
import { colors, type SizeName } from "./vocabulary.ts";

/** Side of every picture, px. */
export const imageSize = 64;

/** Range of a single object's longest side, px. Apart enough to be told apart, and the smallest still shows what it is. */
const sizeRange: Readonly<Record<SizeName, readonly [number, number]>> = {
  small: [28, 32],
  normal: [42, 47],
  big: [57, 62],
};
/** How far a single object may move from the centre, px, as far as it stays inside. */
const shift: Readonly<Record<SizeName, number>> = { small: 8, normal: 5, big: 3 };
/** Box of one object of a pair, px: the full half width, and taller, so that slim objects come out larger. */
const pairWidth = [30, 32] as const;
const pairHeight = [38, 42] as const;
/** Largest deviation of a background from its named colour, of 255: of all channels together, and of each on its own. More of the latter turns gray into brown. */
const shadeJitter = 10;
const hueJitter = 4;

/** Where a picture's chance comes from: the picture is a pure function of the scene and this. */
export interface PictureAddress {
  readonly seed: number | bigint;
  /** Separates uses, e.g. "training" and "ceiling". */
  readonly stream: string;
  readonly index: number;
}

/** Draws scenes. Keeps every sprite size it has drawn (at most about 60 MB). Not safe to share between threads. */
export class SceneRenderer {
  readonly #atlas: SpriteAtlas;
  readonly #resized = new Map<string, Sprite>();

  constructor(atlas: SpriteAtlas) {
    this.#atlas = atlas;
  }

  /** The sprite scaled so that it just fits into a box, keeping its proportions. */
  #fit(object: string, style: string, boxWidth: number, boxHeight: number): Sprite {
    const stored = this.#atlas.sprite(object, style);
    const scale = Math.min(boxWidth / stored.width, boxHeight / stored.height);
    const width = Math.max(1, Math.round(stored.width * scale));
    const height = Math.max(1, Math.round(stored.height * scale));
    const key = `${style}/${object}/${width}/${height}`;
    let sprite = this.#resized.get(key);
    if (sprite === undefined) {
      sprite = resizeSprite(stored, width, height);
      this.#resized.set(key, sprite);
    }
    return sprite;
  }

  /**
   * Renders a scene: [3, 64, 64], planar RGB in [0, 1], into `target` at `offset` when given.
   * Size within its range, position and background shade are drawn from the address.
   */
  render(
    scene: Scene,
    address: PictureAddress,
    target: Float32Array = new Float32Array(3 * imageSize * imageSize),
    offset: number = 0,
  ): Float32Array {
    const draws = uniform(
      { seed: address.seed, stream: `emoji-picture/${address.stream}`, indices: [address.index] },
      16,
    );
    let next = 0;
    const between = (low: number, high: number): number =>
      Math.floor(low + draws[next++]! * (high - low + 1));

    const stops = scene.background.map((name) => {
      const shade = (2 * draws[next++]! - 1) * shadeJitter;
      const { rgb } = colors.find(({ word }) => word === name)!;
      return rgb.map((channel) => {
        const moved = channel + shade + (2 * draws[next++]! - 1) * hueJitter;
        return Math.min(255, Math.max(0, moved)) / 255;
      });
    });
    next = 8;
    fillBackground(target, offset, stops);
    const [first, second] = scene.objects;
    if (second === undefined) {
      const [low, high] = sizeRange[scene.size];
      const side = between(low, high);
      const sprite = this.#fit(first!, scene.style, side, side);
      const place = (extent: number): number => {
        const margin = imageSize - extent;
        // A slim sprite has much room; it still moves no further than a square one would, plus the named shift.
        const reach = Math.min(Math.floor(margin / 2), shift[scene.size]);
        return Math.min(margin, Math.max(0, Math.floor(margin / 2) + between(-reach, reach)));
      };
      composite(target, offset, sprite, place(sprite.width), place(sprite.height));
    } else {
      for (const [half, object] of [first!, second].entries()) {
        const sprite = this.#fit(
          object,
          scene.style,
          between(...pairWidth),
          between(...pairHeight),
        );
        const slack = imageSize / 2 - sprite.width;
        const x = half * (imageSize / 2) + between(0, slack);
        const y = Math.floor((imageSize - sprite.height) / 2) + between(-8, 8);
        composite(target, offset, sprite, x, y);
      }
    }
    return target;
  }
}

/** One colour, or a vertical gradient from the first to the second. */
function fillBackground(
  target: Float32Array,
  offset: number,
  stops: readonly (readonly number[])[],
): void {
  const bottom = stops[1] ?? stops[0]!;
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < imageSize; y++) {
      const t = y / (imageSize - 1);
      const start = offset + (c * imageSize + y) * imageSize;
      target.fill(stops[0]![c]! * (1 - t) + bottom[c]! * t, start, start + imageSize);
    }
  }
}

/** Premultiplied "over"; the sprite lies wholly inside the picture. */
function composite(
  target: Float32Array,
  offset: number,
  sprite: Sprite,
  left: number,
  top: number,
): void {
  const plane = imageSize * imageSize;
  for (let y = 0; y < sprite.height; y++) {
    let source = 4 * y * sprite.width;
    let at = offset + (top + y) * imageSize + left;
    for (let x = 0; x < sprite.width; x++, source += 4, at++) {
      const alpha = sprite.rgba[source + 3]!;
      if (alpha === 0) continue;
      const through = 1 - alpha / 255;
      target[at] = sprite.rgba[source]! / 255 + through * target[at]!;
      target[at + plane] = sprite.rgba[source + 1]! / 255 + through * target[at + plane]!;
      target[at + 2 * plane] = sprite.rgba[source + 2]! / 255 + through * target[at + 2 * plane]!;
    }
  }
}
