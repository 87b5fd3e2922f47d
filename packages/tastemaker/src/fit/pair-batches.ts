import { permutation, UsageError } from "@tastemaker/tensor";
import type { Pair } from "./pairs.ts";

/** A picture as it is scored: for a prompt. */
export interface ScoredPicture {
  readonly path: string;
  readonly prompt: string;
}

/** What one step learns from: pictures, each scored once, and pairs of them. */
export interface PairBatch {
  readonly pictures: readonly ScoredPicture[];
  /** Places in `pictures`; at most as many as the batch has room for. */
  readonly pairs: readonly { readonly first: number; readonly second: number; readonly pair: Pair }[];
}

/** Some pairs of one prompt that share pictures, where they do. */
interface Block {
  readonly prompt: string;
  readonly paths: readonly string[];
  readonly pairs: readonly Pair[];
}

/** Pictures of a block: the pairs of a prompt with more are cut, so that a step always sees several prompts. */
const mostBlockPictures = 8;

/** The pairs of each prompt, cut where they have more than eight pictures; a pure function of the list. */
export function blocksOf(pairs: readonly Pair[]): Block[] {
  const byPrompt = new Map<string, Pair[]>();
  for (const pair of pairs) {
    const own = byPrompt.get(pair.prompt);
    if (own === undefined) byPrompt.set(pair.prompt, [pair]);
    else own.push(pair);
  }
  const blocks: Block[] = [];
  for (const [prompt, own] of byPrompt) {
    let paths = new Set<string>();
    let part: Pair[] = [];
    const close = (): void => {
      if (part.length > 0) blocks.push({ prompt, paths: [...paths], pairs: part });
      [paths, part] = [new Set(), []];
    };
    for (const pair of own) {
      if (new Set([...paths, pair.first, pair.second]).size > mostBlockPictures) close();
      paths.add(pair.first).add(pair.second);
      part.push(pair);
    }
    close();
  }
  return blocks;
}

/** Puts blocks one after the other into batches of at most so many pictures and pairs. */
function packed(blocks: readonly Block[], pictures: number, slots: number): PairBatch[] {
  const batches: PairBatch[] = [];
  let batch: { pictures: ScoredPicture[]; pairs: { first: number; second: number; pair: Pair }[] } = { pictures: [], pairs: [] };
  for (const { prompt, paths, pairs } of blocks) {
    if (batch.pictures.length > 0 && (batch.pictures.length + paths.length > pictures || batch.pairs.length + pairs.length > slots)) {
      batches.push(batch);
      batch = { pictures: [], pairs: [] };
    }
    const start = batch.pictures.length;
    for (const path of paths) batch.pictures.push({ path, prompt });
    for (const pair of pairs) batch.pairs.push({ first: start + paths.indexOf(pair.first), second: start + paths.indexOf(pair.second), pair });
  }
  if (batch.pairs.length > 0) batches.push(batch);
  return batches;
}

/**
 * The batches of a training: in every pass all pairs once, in a new order of blocks. A picture of several pairs is scored once for all of them, as ImageReward's training does with
 * a prompt's pictures: where each with each is compared that is three pairs for the work of one.
 */
export class PairBatches {
  /** Room for pairs in a batch. */
  readonly slots: number;
  /** Pictures scored in a pass. */
  readonly picturesPerPass: number;
  readonly #blocks: readonly Block[];
  readonly #pictures: number;
  readonly #seed: number;
  /** Number of batches before each pass, as far as it is known. */
  readonly #starts: number[] = [0];
  #pass = -1;
  #batches: readonly PairBatch[] = [];

  /**
   * @param pictures Of a batch; at least those of the largest block.
   * @throws UsageError `fit-batch`
   */
  constructor(pairs: readonly Pair[], pictures: number, seed: number) {
    this.#blocks = blocksOf(pairs);
    const largest = this.#blocks.reduce((most, { paths }) => Math.max(most, paths.length), 0);
    if (largest > pictures) throw new UsageError("fit-batch", `reward fit: expected a batch of at least ${Math.ceil(largest / 2)} pairs, got ${pictures / 2}: some prompt has ${largest} pictures that are compared with each other`, "raise --batch-size");
    this.#pictures = pictures;
    this.#seed = seed;
    this.picturesPerPass = this.#blocks.reduce((sum, { paths }) => sum + paths.length, 0);
    const share = pairs.length / Math.max(1, this.picturesPerPass);
    // A quarter more than usual, so that batches are full of pictures rather than of pairs.
    this.slots = Math.max(Math.ceil(1.25 * share * pictures), ...this.#blocks.map((block) => block.pairs.length));
  }

  /** The batch of a step, counted from 0; a pure function of (pairs, pictures, seed, step). */
  at(step: number): PairBatch {
    let pass = 0;
    for (;;) {
      const start = this.#starts[pass]!;
      const next = this.#starts[pass + 1] ?? start + this.#of(pass).length;
      this.#starts[pass + 1] = next;
      if (step < next) return this.#of(pass)[step - start]!;
      pass++;
    }
  }

  #of(pass: number): readonly PairBatch[] {
    if (pass !== this.#pass) {
      const order = permutation({ seed: this.#seed, stream: "fit-order", indices: [pass] }, this.#blocks.length);
      this.#batches = packed(Array.from(order, (index) => this.#blocks[index]!), this.#pictures, this.slots);
      this.#pass = pass;
    }
    return this.#batches;
  }
}

/** The pairs in their order, in batches of the same shape. */
export function batchesInOrder(pairs: readonly Pair[], pictures: number, slots: number): PairBatch[] {
  return packed(blocksOf(pairs), pictures, slots);
}
