import { byteSymbols, endOfWord, type BytePairs } from "./byte-pairs.ts";

/** Numbers, the smallest first: a binary heap. */
class NumberHeap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let index = items.push(item) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (items[parent]! <= item) break;
      items[index] = items[parent]!;
      index = parent;
    }
    items[index] = item;
  }

  pop(): number | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return top;
    let index = 0;
    for (let child = 1; child < items.length; child = 2 * index + 1) {
      if (child + 1 < items.length && items[child + 1]! < items[child]!) child++;
      if (items[child]! >= last) break;
      items[index] = items[child]!;
      index = child;
    }
    items[index] = last;
    return top;
  }
}

/** Splits words into the tokens of a byte-pair vocabulary. */
export class WordEncoder {
  /** Of a pair of ids, see `#key`. */
  readonly #rankOf: ReadonlyMap<number, number>;
  /** Of each rank: the pair and what it merges to. */
  readonly #merges: readonly (readonly [left: number, right: number, merged: number])[];
  readonly #byteIds: readonly number[];
  readonly #lastByteIds: readonly number[];
  readonly #size: number;

  constructor({ ids, merges, size }: BytePairs) {
    this.#size = size;
    this.#merges = merges.map(([left, right]) => [ids.get(left)!, ids.get(right)!, ids.get(left + right)!]);
    this.#rankOf = new Map(this.#merges.map(([left, right], rank) => [this.#key(left, right), rank]));
    this.#byteIds = byteSymbols.map((symbol) => ids.get(symbol)!);
    this.#lastByteIds = byteSymbols.map((symbol) => ids.get(symbol + endOfWord)!);
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
    // A token lies at its first byte; −1 marks bytes inside of tokens.
    const tokens = new Int32Array(length);
    const next = new Int32Array(length);
    const previous = new Int32Array(length);
    for (let position = 0; position < length; position++) {
      tokens[position] = this.#byteIds[bytes[position]!]!;
      next[position] = position + 1;
      previous[position] = position - 1;
    }
    tokens[length - 1] = this.#lastByteIds[bytes[length - 1]!]!;

    // Where a pair of each rank may lie. Another merge may have taken one of its tokens since.
    const places = new Map<number, number[]>();
    const ranks = new NumberHeap();
    const offer = (position: number): void => {
      if (position < 0 || next[position]! >= length) return;
      const rank = this.#rankOf.get(this.#key(tokens[position]!, tokens[next[position]!]!));
      if (rank === undefined) return;
      const known = places.get(rank);
      if (known !== undefined) {
        known.push(position);
        return;
      }
      places.set(rank, [position]);
      ranks.push(rank);
    };
    for (let position = 0; position + 1 < length; position++) offer(position);
    for (let rank = ranks.pop(); rank !== undefined; rank = ranks.pop()) {
      const [left, right, merged] = this.#merges[rank]!;
      const positions = Int32Array.from(places.get(rank)!).sort();
      places.delete(rank);
      // All places of one pair are merged before pairs with the new token are looked at.
      const changed: number[] = [];
      for (const position of positions) {
        const second = next[position]!;
        if (tokens[position] !== left || second >= length || tokens[second] !== right) continue;
        tokens[position] = merged;
        tokens[second] = -1;
        const after = next[second]!;
        next[position] = after;
        if (after < length) previous[after] = position;
        changed.push(position);
      }
      for (const position of changed) {
        offer(previous[position]!);
        offer(position);
      }
    }
    return Array.from(tokens.filter((token) => token >= 0));
  }
}
