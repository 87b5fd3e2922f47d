import { permutation } from "@tastemaker/tensor";

/** One picture with its caption. */
export interface CaptionedImage<Labels = undefined> {
  readonly caption: string;
  /** [3, imageSize, imageSize], planar RGB in [0, 1]. */
  readonly pixels: Float32Array;
  /** What is known about the content beyond the caption. */
  readonly labels: Labels;
}

/** Several pictures in one block. */
export interface CaptionedImageBatch<Labels = undefined> {
  readonly captions: readonly string[];
  /** [B, 3, imageSize, imageSize], planar RGB in [0, 1]. */
  readonly pixels: Float32Array;
  readonly labels: readonly Labels[];
}

/** A source of captioned pictures for pretraining: a folder, or a generator. The same index always gives the same picture. */
export interface CaptionedImages<Labels = undefined> {
  /** For run records and messages. */
  readonly name: string;
  /** Number of pictures, or Infinity for a generator. */
  readonly size: number;
  /** Side of the square pictures, px. */
  readonly imageSize: number;
  /** The picture at `index`, 0 ≤ index < size. */
  get(index: number): Promise<CaptionedImage<Labels>>;
  /** The pictures at `indices`, in that order. */
  batch(indices: readonly number[]): Promise<CaptionedImageBatch<Labels>>;
}

/** `batch` for sources that have nothing faster. */
export async function collectBatch<Labels>(
  source: Pick<CaptionedImages<Labels>, "get" | "imageSize">,
  indices: readonly number[],
): Promise<CaptionedImageBatch<Labels>> {
  const images = await Promise.all(indices.map((index) => source.get(index)));
  const each = 3 * source.imageSize ** 2;
  const pixels = new Float32Array(images.length * each);
  for (const [i, image] of images.entries()) pixels.set(image.pixels, i * each);
  return {
    captions: images.map(({ caption }) => caption),
    pixels,
    labels: images.map(({ labels }) => labels),
  };
}

/**
 * The order in which training visits a source: position 0, 1, 2, … of the run → index in the source. A finite source is shuffled
 * anew each epoch, by (seed, epoch); a generator is read in order. A pure function of (seed, size, position), so a resumed run goes on exactly.
 */
export class VisitOrder {
  readonly #seed: number | bigint;
  readonly #size: number;
  #epoch = -1;
  #order: Uint32Array = new Uint32Array();

  constructor(seed: number | bigint, size: number) {
    this.#seed = seed;
    this.#size = size;
  }

  indexAt(position: number): number {
    if (this.#size === Infinity) return position;
    const epoch = Math.floor(position / this.#size);
    if (epoch !== this.#epoch) {
      this.#order = permutation(
        { seed: this.#seed, stream: "visit-order", indices: [epoch] },
        this.#size,
      );
      this.#epoch = epoch;
    }
    return this.#order[position % this.#size]!;
  }

  /** Indices of `count` positions from `start` on. */
  indices(start: number, count: number): number[] {
    return Array.from({ length: count }, (_, i) => this.indexAt(start + i));
  }
}
