import { describe, expect, it } from "vitest";
import { normal, permutation, philox4x32, uniform } from "./random.ts";

describe("counter-based random numbers", () => {
  it("give the known answers of the Philox paper", () => {
    expect(philox4x32([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    const ones = 0xffffffff;
    expect(philox4x32([ones, ones, ones, ones], [ones, ones])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    expect(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
    ]);
  });

  it("depend on every part of the address and on nothing else", () => {
    const key = { seed: 7, stream: "noise", indices: [3, 1] };
    const once = normal(key, 9);
    expect(normal(key, 9)).toEqual(once);
    expect(normal(key, 5)).toEqual(once.subarray(0, 5));
    for (const other of [{ ...key, seed: 8 }, { ...key, stream: "nois" }, { ...key, indices: [31] }, { ...key, indices: [3, 1, 0] }]) {
      expect(normal(other, 9)).not.toEqual(once);
    }
  });

  it("have the moments of their distributions", () => {
    const n = 40_000;
    const z = normal({ seed: 1, stream: "moments", indices: [] }, n);
    const u = uniform({ seed: 1, stream: "moments", indices: [] }, n);
    const mean = (x: Float64Array, power: number): number => x.reduce((sum, v) => sum + v ** power, 0) / n;
    expect(Math.abs(mean(z, 1))).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(mean(z, 2) - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
    expect(Math.abs(mean(z, 4) - 3)).toBeLessThan(4 * Math.sqrt(96 / n));
    expect(Math.abs(mean(u, 1) - 0.5)).toBeLessThan(4 / Math.sqrt(12 * n));
    expect(Math.min(...u)).toBeGreaterThan(0);
    expect(Math.max(...u)).toBeLessThan(1);
  });

  it("permute without loss", () => {
    const shuffled = permutation({ seed: 1, stream: "epoch", indices: [0] }, 100);
    expect([...shuffled].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect([...shuffled]).not.toEqual(Array.from({ length: 100 }, (_, i) => i));
  });
});
