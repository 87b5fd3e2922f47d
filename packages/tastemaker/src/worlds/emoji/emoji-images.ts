import type {
  CaptionedImage,
  CaptionedImageBatch,
  CaptionedImages,
} from "../../data/captioned-images.ts";
import { drawScene, type Split } from "./draw-scene.ts";
import { imageSize, SceneRenderer } from "./renderer.ts";
import { printCaption, type Scene } from "./scene.ts";
import { siblingScene } from "./sibling-scene.ts";
import { loadSprites } from "./sprites.ts";
import { colors, objects, sizes, styles } from "./vocabulary.ts";

/** What a picture shows, as indices into the lists of `vocabulary.ts`; −1 for no second object or colour. */
export interface SceneLabels {
  readonly scene: Scene;
  /** Left to right. */
  readonly objects: readonly [number, number];
  /** Top to bottom. */
  readonly background: readonly [number, number];
  readonly style: number;
  readonly size: number;
}

/** The labels of a scene. */
export function labelsOf(scene: Scene): SceneLabels {
  const indexOf = (list: readonly { readonly word: string }[], word: string | undefined): number =>
    list.findIndex((entry) => entry.word === word);
  return {
    scene,
    objects: [indexOf(objects, scene.objects[0]), indexOf(objects, scene.objects[1])],
    background: [indexOf(colors, scene.background[0]), indexOf(colors, scene.background[1])],
    style: indexOf(styles, scene.style),
    size: sizes.indexOf(scene.size),
  };
}

export interface EmojiImagesOptions {
  /** Any integer; other seeds give other pictures. */
  readonly seed: number | bigint;
  /** Default `training`. */
  readonly split?: Split;
}

/** Endless captioned pictures of the emoji world. Picture i is a pure function of (split, seed, i). */
export class EmojiImages implements CaptionedImages<SceneLabels> {
  readonly name: string;
  readonly size: number = Infinity;
  readonly imageSize: number = imageSize;
  readonly #renderer: SceneRenderer;
  readonly #seed: number | bigint;
  readonly #split: Split;

  constructor(renderer: SceneRenderer, { seed, split = "training" }: EmojiImagesOptions) {
    this.#renderer = renderer;
    this.#seed = seed;
    this.#split = split;
    this.name = `emoji world, ${split}, seed ${seed}`;
  }

  /** Opens the world whose pictures are installed, or already cached, under `worldDirectory` (normally `worlds/emoji`). */
  static async open(worldDirectory: string, options: EmojiImagesOptions): Promise<EmojiImages> {
    return new EmojiImages(new SceneRenderer(await loadSprites(worldDirectory)), options);
  }

  /** The scene of picture `index`. */
  sceneAt(index: number): Scene {
    return drawScene(this.#split, { seed: this.#seed, stream: "pictures", index });
  }

  /** `get` without the promise. */
  sample(index: number): CaptionedImage<SceneLabels> {
    const { captions, pixels, labels } = this.sampleBatch([index]);
    return { caption: captions[0]!, pixels, labels: labels[0]! };
  }

  /** `batch` without the promise. */
  sampleBatch(indices: readonly number[]): CaptionedImageBatch<SceneLabels> {
    return this.#render(indices, indices.map((index) => this.sceneAt(index)), this.#split);
  }

  /** For each picture of the training split another one that differs from it in one thing its caption says (`siblingScene`). */
  siblings(indices: readonly number[]): CaptionedImageBatch<SceneLabels> {
    const scenes = indices.map((index) => siblingScene(this.sceneAt(index), { seed: this.#seed, stream: this.#split, index }));
    return this.#render(indices, scenes, `${this.#split}/sibling`);
  }

  #render(indices: readonly number[], scenes: readonly Scene[], stream: string): CaptionedImageBatch<SceneLabels> {
    const each = 3 * imageSize ** 2;
    const pixels = new Float32Array(indices.length * each);
    for (const [i, scene] of scenes.entries()) {
      this.#renderer.render(scene, { seed: this.#seed, stream, index: indices[i]! }, pixels, i * each);
    }
    return { captions: scenes.map(printCaption), pixels, labels: scenes.map(labelsOf) };
  }

  get(index: number): Promise<CaptionedImage<SceneLabels>> {
    return Promise.resolve(this.sample(index));
  }

  batch(indices: readonly number[]): Promise<CaptionedImageBatch<SceneLabels>> {
    return Promise.resolve(this.sampleBatch(indices));
  }
}
