import { byteSymbols, endOfWord, type BytePairs } from "./byte-pairs.ts";

interface Merge {
  /** The lower, the earlier. */
  readonly rank: number;
  /** Id of the merged token. */
  readonly id: number;
}

/** A possible merge of the tokens that begin at `position` and at `next`. */
interface Candidate extends Merge {
  readonly position: number;
  readonly left: number;
  readonly right: number;
}

const isBefore = (a: Candidate, b: Candidate): boolean => a.rank < b.rank || (a.rank === b.rank && a.position < b.position);

/** A binary heap of candidates, the next one on top. */
class CandidateHeap {
  readonly #items: Candidate[] = [];

  get top(): Candidate | undefined {
    return this.#items[0];
  }

  push(item: Candidate): void {
    const items = this.#items;
    let index = items.push(item) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(item, items[parent]!)) break;
      items[index] = items[parent]!;
      index = parent;
    }
    items[index] = item;
  }

  pop(): Candidate | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return top;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && isBefore(items[child + 1]!, items[child]!)) child++;
      if (!isBefore(items[child]!, last)) break;
      items[index] = items[child]!;
      index = child;
    }
    items[index] = last;
    return top;
  }
}

/** Splits words into the tokens of a byte-pair vocabulary. */
export class WordEncoder {
  readonly #merges: ReadonlyMap<number, Merge>;
  readonly #byteIds: Int32Array;
  readonly #lastByteIds: Int32Array;
  readonly #size: number;

  constructor({ ids, merges, size }: BytePairs) {
    this.#size = size;
    this.#merges = new Map(merges.map(([left, right], rank) => [this.#key(ids.get(left)!, ids.get(right)!), { rank, id: ids.get(left + right)! }]));
    this.#byteIds = Int32Array.from(byteSymbols, (symbol) => ids.get(symbol)!);
    this.#lastByteIds = Int32Array.from(byteSymbols, (symbol) => ids.get(symbol + endOfWord)!);
  }

  #key(left: number, right: number): number {
    return left * this.#size + right;
  }

  /**
   * Token ids of a word's bytes: the pair of lowest rank is merged everywhere, from left to right, until no neighbours can be merged. Takes n log n steps
   * for n bytes.
   */
  encode(bytes: Uint8Array): readonly number[] {
    const { length } = bytes;
    if (length === 0) return [];
    const tokens = Int32Array.from(bytes, (byte, index) => (index === length - 1 ? this.#lastByteIds : this.#byteIds)[byte]!);
    // A token lies at its first byte; −1 marks bytes inside of tokens.
    const next = Int32Array.from(bytes, (_, index) => index + 1);
    const previous = Int32Array.from(bytes, (_, index) => index - 1);
    const heap = new CandidateHeap();
    const offer = (position: number): void => {
      if (position < 0 || next[position]! >= length) return;
      const left = tokens[position]!;
      const right = tokens[next[position]!]!;
      const merge = this.#merges.get(this.#key(left, right));
      if (merge !== undefined) heap.push({ ...merge, position, left, right });
    };
    for (let position = 0; position + 1 < length; position++) offer(position);
    for (let first = heap.pop(); first !== undefined; first = heap.pop()) {
      // All places of one pair are merged before pairs with the new tokens are looked at.
      const changed: number[] = [];
      for (let candidate: Candidate | undefined = first; candidate !== undefined; candidate = heap.top?.rank === first.rank ? heap.pop() : undefined) {
        const { position, left, right, id }: Candidate = candidate;
        const second = next[position]!;
        if (tokens[position] !== left || second >= length || tokens[second] !== right) continue;
        tokens[position] = id;
        tokens[second] = -1;
        next[position] = next[second]!;
        if (next[second]! < length) previous[next[second]!] = position;
        changed.push(position);
      }
      for (const position of changed) {
        offer(previous[position]!);
        offer(position);
      }
    }
    return [...tokens.filter((token) => token >= 0)];
  }
}
