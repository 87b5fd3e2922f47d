import { describe, expect, it } from "vitest";
import type { BetaSetting } from "../config/train-config.ts";
import { betaAt, type BetaState, initialBeta, typicalDivergence, updateBeta } from "./beta-controller.ts";

const kl = { divergence: { kind: "kl", reduction: "mean", stepReduction: "sum", detachReference: false, samples: 16 }, steps: 8 } as const;

/** A model whose divergence moves to its optimum (g/2β)² at a twentieth of the way per iteration, with a constant reward. */
function simulate(setting: BetaSetting, options: { slope: number; reward: number; iterations: number }): { state: BetaState; divergence: number } {
  let state = initialBeta(setting, options.iterations);
  let divergence = 0;
  for (let i = 0; i < options.iterations; i++) {
    state = updateBeta(setting, state, options.reward, divergence, typicalDivergence(kl, 1024));
    divergence += 0.05 * ((options.slope / (2 * state.beta)) ** 2 - divergence);
  }
  return { state, divergence };
}

describe("beta", () => {
  it("follows its schedule from the first to the last iteration", () => {
    const linear = { schedule: "linear", from: 2, to: 1 } as const;
    expect([0, 5, 10].map((i) => betaAt(linear, 0, i, 11))).toEqual([2, 1.5, 1]);
    const cosine = { schedule: "cosine", from: 0, to: 1 } as const;
    expect(betaAt(cosine, 0, 5, 11)).toBeCloseTo(0.5, 12);
    expect(betaAt({ schedule: "constant", from: 3 }, 0, 7, 11)).toBe(3);
    expect(betaAt(0.7, 9, 7, 11)).toBe(0.7);
  });

  it("auto settles where beta times divergence is near a tenth of the reward, from strong and from weak pulls", () => {
    for (const slope of [1, 3]) {
      const { state, divergence } = simulate("auto", { slope, reward: 1, iterations: 6000 });
      expect(state.beta * divergence, `slope ${slope}`).toBeGreaterThan(0.08);
      expect(state.beta * divergence, `slope ${slope}`).toBeLessThan(0.12);
    }
  });

  it("auto starts from the reward's size, so scaling the reward scales beta", () => {
    const small = simulate("auto", { slope: 1, reward: 1, iterations: 10 });
    const large = simulate("auto", { slope: 1, reward: 20, iterations: 10 });
    expect(small.state.beta).toBeCloseTo(0.1 / 0.03, 6);
    expect(large.state.beta / small.state.beta).toBeCloseTo(20, 6);
  });

  it("target holds the divergence at the wanted value", () => {
    const { divergence } = simulate({ target: 0.02 }, { slope: 0.6, reward: 1, iterations: 6000 });
    expect(divergence).toBeGreaterThan(0.018);
    expect(divergence).toBeLessThan(0.022);
  });

  it("stays finite and bounded when reward or divergence are zero", () => {
    for (const setting of ["auto", { target: 0.1 }] as const) {
      let state = initialBeta(setting, 100);
      for (let i = 0; i < 5000; i++) state = updateBeta(setting, state, 0, i % 2, 0.03);
      expect(state.beta).toBeGreaterThanOrEqual(1e-6);
      expect(state.beta).toBeLessThanOrEqual(1e6);
    }
  });
});
