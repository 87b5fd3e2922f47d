import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { batchesInOrder, blocksOf, PairBatches } from "./pair-batches.ts";
import type { Pair } from "./pairs.ts";

const pair = (prompt: string, first: string, second: string): Pair => ({ prompt, first, second, isCopied: false, label: 1, probability: undefined, where: "" });
/** Four pictures of each prompt, each with each. */
const full = (prompts: number): Pair[] => Array.from({ length: prompts }, (_, p) => [0, 1, 2, 3].flatMap((i) => [0, 1, 2, 3].filter((j) => j > i).map((j) => pair(`p${p}`, `${p}-${i}`, `${p}-${j}`)))).flat();

describe("batches of pairs", () => {
  it("score a picture of several pairs once", () => {
    const batches = new PairBatches(full(20), 16, 1);
    expect(batches.picturesPerPass).toBe(80);
    const batch = batches.at(0);
    expect(batch.pictures).toHaveLength(16);
    expect(batch.pairs).toHaveLength(24);
    for (const { first, second, pair: { prompt, ...own } } of batch.pairs) {
      expect(batch.pictures[first]).toEqual({ path: own.first, prompt });
      expect(batch.pictures[second]).toEqual({ path: own.second, prompt });
    }
  });

  it("have every pair once in a pass, in an order that depends on seed and pass alone", () => {
    const pairs = full(20);
    const keys = (batches: PairBatches, steps: number[]): string[] => steps.flatMap((step) => batches.at(step).pairs.map(({ pair: { first, second } }) => `${first} ${second}`));
    const steps = [0, 1, 2, 3, 4];
    const first = keys(new PairBatches(pairs, 16, 1), steps);
    expect([...first].sort()).toEqual(pairs.map((one) => `${one.first} ${one.second}`).sort());
    const second = keys(new PairBatches(pairs, 16, 1), [5, 6, 7, 8, 9]);
    expect([...second].sort()).toEqual([...first].sort());
    expect(second).not.toEqual(first);
    const again = new PairBatches(pairs, 16, 1);
    again.at(7);
    expect(keys(again, steps)).toEqual(first);
    expect(keys(new PairBatches(pairs, 16, 2), steps)).not.toEqual(first);
  });

  it("cut prompts with many pictures, and refuse a batch that is too small for one", () => {
    const many = Array.from({ length: 30 }, (_, i) => pair("p", `${i}`, `${i + 1}`));
    expect(blocksOf(many).map(({ paths }) => paths.length)).toEqual([8, 8, 8, 8, 3]);
    expect(() => new PairBatches(many, 6, 0)).toThrow(/at least 4 pairs, got 3/);
  });

  it("lose no pair and overfill no batch, whatever the pairs are", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(5), fc.nat(6), fc.nat(6)), { minLength: 1, maxLength: 60 }), (drawn) => {
        const pairs = drawn.map(([p, a, b]) => pair(`p${p}`, `${p}-${a}`, `${p}-${b}`));
        const batches = new PairBatches(pairs, 16, 3);
        const found: Pair[] = [];
        for (let step = 0; found.length < pairs.length; step++) {
          const batch = batches.at(step);
          expect(batch.pictures.length).toBeLessThanOrEqual(16);
          expect(batch.pairs.length).toBeLessThanOrEqual(batches.slots);
          found.push(...batch.pairs.map((one) => one.pair));
        }
        expect(new Set(found)).toEqual(new Set(pairs));
        expect(batchesInOrder(pairs, 16, batches.slots).flatMap((batch) => batch.pairs)).toHaveLength(pairs.length);
      }),
    );
  });
});
