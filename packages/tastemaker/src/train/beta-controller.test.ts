import { describe, expect, it } from "vitest";
import type { BetaSetting } from "../config/train-config.ts";
import { afterEvaluation, betaAt, type BetaState, initialBeta, typicalDivergence, updateBeta } from "./beta-controller.ts";

const kl = { divergence: { kind: "kl", reduction: "mean", stepReduction: "sum", detachReference: false, samples: 16 }, steps: 8 } as const;

/** A batch of rewards with a given mean and spread. */
const batch = (mean: number, spread: number): number[] => [-1, 1, -1, 1].map((side) => mean + (side * spread * Math.sqrt(3)) / 2);

/** A model whose divergence moves to its optimum (slope/2β)² at a twentieth of the way per iteration. */
function simulate(setting: BetaSetting, options: { slope: number; mean: number; spread: number; iterations: number }): { state: BetaState; divergence: number; highest: number } {
  let state = initialBeta(setting, options.iterations);
  let [divergence, highest] = [0, 0];
  for (let i = 0; i < options.iterations; i++) {
    state = updateBeta(setting, state, batch(options.mean, options.spread), divergence, typicalDivergence(kl, 1024));
    divergence += 0.05 * ((options.slope / (2 * state.beta)) ** 2 - divergence);
    highest = Math.max(highest, divergence);
  }
  return { state, divergence, highest };
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

  it("auto holds the divergence at the typical one, from strong and from weak pulls", () => {
    for (const slope of [0.5, 2, 20]) {
      const { divergence, highest } = simulate("auto", { slope, mean: 20, spread: 1, iterations: 3000 });
      expect(divergence, `slope ${slope}`).toBeGreaterThan(0.054);
      expect(divergence, `slope ${slope}`).toBeLessThan(0.066);
      // A pull ten times the usual is caught before it has gone far.
      expect(highest, `slope ${slope}`).toBeLessThan(slope <= 2 ? 0.08 : 1);
    }
  });

  it("auto starts from the reward's spread: neither zero point nor scale of a reward matters", () => {
    const start = (mean: number, spread: number): number => simulate("auto", { slope: 1, mean, spread, iterations: 10 }).state.beta;
    expect(start(0, 1)).toBeCloseTo((Math.sqrt(40 / 39) * Math.sqrt(3)) / 2 / Math.sqrt(0.06), 6);
    expect(start(20, 1)).toBeCloseTo(start(0, 1), 9);
    expect(start(0, 7) / start(0, 1)).toBeCloseTo(7, 9);
  });

  it("target holds the divergence at the wanted value", () => {
    const { divergence } = simulate({ target: 0.01 }, { slope: 2, mean: 0, spread: 1, iterations: 3000 });
    expect(divergence).toBeGreaterThan(0.009);
    expect(divergence).toBeLessThan(0.011);
  });

  it("means the same shift for every divergence", () => {
    const hellinger = { ...kl, divergence: { ...kl.divergence, kind: "hellinger" } } as const;
    const after = (config: typeof kl | typeof hellinger): number => {
      let state = initialBeta("auto", 10);
      for (let i = 0; i < 10; i++) state = updateBeta("auto", state, batch(0, 1), 0, typicalDivergence(config, 1024));
      return state.beta;
    };
    // Slopes at 0 are 1/2 and 1/8.
    expect(after(hellinger) / after(kl)).toBeCloseTo(4, 9);
  });

  describe("after an evaluation", () => {
    const typical = typicalDivergence(kl, 1024);
    const moved: BetaState = { ...initialBeta("auto", 100), beta: 3, rewards: { count: 41, mean: 5, squares: 40 * 0.06 }, divergence: 0.5 * typical * (1 - 0.7 ** 20), updates: 20 };
    const [risen, unclear] = [{ low: 0.01 }, { low: -0.01 }];

    it("auto holds a model whose reward has not risen at a hundredth, until it has", () => {
      // A spread of √.06 makes the warm-up's beta 1, and 10 for a hundredth of the divergence.
      const held = afterEvaluation("auto", moved, unclear, typical);
      expect(held).toEqual({ ...moved, trust: 0.01, beta: expect.closeTo(10, 9) as number });
      expect(afterEvaluation("auto", { ...moved, beta: 20 }, unclear, typical).beta).toBe(20);
      expect(updateBeta("auto", held, [0], 0.5 * typical, typical).beta).toBeGreaterThan(14);
      expect(updateBeta("auto", held, [0], 0, typical).beta).toBeGreaterThan(10);
      expect(afterEvaluation("auto", held, unclear, typical)).toBe(held);
      expect(afterEvaluation("auto", { ...held, beta: 1000 }, risen, typical)).toEqual({ ...moved, beta: expect.closeTo(1, 9) as number });
    });

    it("the warm-up goes on from what is permitted", () => {
      const early = (trust: number): number => updateBeta("auto", { ...initialBeta("auto", 100), trust }, batch(0, 1), 0, typical).beta;
      expect(early(0.01) / early(1)).toBeCloseTo(10, 9);
    });

    it("says nothing of a model that has hardly moved, without two prompts, and of a beta that is given", () => {
      for (const state of [initialBeta("auto", 100), { ...moved, divergence: 0.04 * typical }]) expect(afterEvaluation("auto", state, unclear, typical)).toBe(state);
      for (const rise of [undefined, { low: Number.NaN }, risen]) expect(afterEvaluation("auto", moved, rise, typical)).toEqual(moved);
      for (const setting of [0.5, { target: 0.1 }, { schedule: "constant", from: 1 }] as const) expect(afterEvaluation(setting, moved, unclear, typical)).toEqual(moved);
    });
  });

  it("stays finite and bounded when reward or divergence are zero", () => {
    for (const setting of ["auto", { target: 0.1 }] as const) {
      let state = initialBeta(setting, 100);
      for (let i = 0; i < 5000; i++) state = updateBeta(setting, state, [0], i % 2, 0.03);
      expect(state.beta).toBeGreaterThanOrEqual(1e-6);
      expect(state.beta).toBeLessThanOrEqual(1e6);
    }
  });
});
