import { describe, expect, it } from "vitest";
import { chooseBeta } from "../choose-beta.ts";
import { baseOf, type Method, methods, type RunRecord, type TrainedReward } from "../run-record.ts";
import { syntheticBase, syntheticRun } from "../testing/synthetic-records.ts";
import { betaTable } from "./beta-table.ts";
import { type Claim, judgeClaims } from "./claims.ts";
import { matchedReward } from "./matched-reward.ts";
import { preferenceByBeta } from "./preference-by-beta.ts";
import { timeToQuality } from "./time-to-quality.ts";

const base = syntheticBase(150);
const options = { seed: 1, resamples: 200 };
const rewards: readonly TrainedReward[] = ["pick-score", "aesthetic"];

function claimsOf(records: readonly RunRecord[]): Map<string, Claim> {
  const choices = chooseBeta(records, base);
  const claims = judgeClaims({ records, base, choices, beta: betaTable(records, base, choices, options), preference: preferenceByBeta(records, base, options), speed: timeToQuality(records, base, choices, options), matched: matchedReward(records, base, choices), options });
  return new Map(claims.map((claim) => [claim.id, claim]));
}

type Effect = (method: Method, beta: number | "auto" | null, metric: string, reward: TrainedReward) => number;

function world(effect: Effect, number = 0, seedSpread = 0.03): RunRecord[] {
  return rewards.flatMap((reward) =>
    methods.flatMap((method) => {
      const isSwept = method.startsWith("rocm") && method !== "rocm-none";
      const betas: readonly (number | "auto" | null)[] = isSwept ? [1, 3, 10, "auto"] : [null];
      const seconds = baseOf(method) === "emoji-teacher" ? 4 : method === "rlcm" ? 2 : 0.2;
      return betas.flatMap((beta) => [1, 2, 3].map((seed) => syntheticRun(base, { reward, method, beta, seed, world: number, seedSpread, secondsPerIteration: seconds, part: beta === "auto" ? "auto" : beta === null ? "main" : "sweep", effect: (metric) => effect(method, beta, metric, reward) })));
    }),
  );
}

/** The paper's world: everything it claims is so. */
const paper: Effect = (method, beta, metric, reward) => {
  const strength = beta === 1 ? 0 : beta === 10 ? 0.2 : 0.8;
  if (method === "rocm-none") return metric === reward ? 3 : -0.6;
  if (method.startsWith("rocm")) {
    if (metric === reward) return beta === 1 ? 2.5 : beta === 10 ? 1 : 1.5;
    if (metric === "judge") return 0.35;
    return strength + (method === "rocm-kl" || method === "rocm-hellinger" ? 0.15 : 0);
  }
  if (method === "rlcm") return metric === reward ? 0.8 : 0.3;
  return metric === reward ? 0.6 : method === "ddpo" ? 0.1 : -0.4;
};

describe("the claims", () => {
  it("hold where they are true", () => {
    const claims = claimsOf(world(paper));
    expect(Object.fromEntries([...claims].map(([id, { verdict }]) => [id, verdict]))).toMatchObject({
      "regularised-at-least-baselines": "holds",
      "no-regularisation-overfits": "holds",
      "kl-hellinger-best": "holds",
      "interior-optimum": "holds",
      "diffusion-baselines-lose": "holds",
      "appeal-over-alignment": "holds",
      "divergence-over-stopping": "holds",
      "rocm-sooner-than-rlcm": "holds",
      "goal-rlcm-time": "holds",
      "goal-early-stopping": "does not hold",
    });
    const { effect } = claims.get("kl-hellinger-best")!;
    expect(effect!.low! < 0.15 && 0.15 < effect!.high!).toBe(true);
    for (const { rule, unit, evidence } of claims.values()) for (const text of [rule, unit, evidence]) expect(text).not.toMatch(/NaN|undefined/);
  });

  it("are undecided where they speak of methods without runs", () => {
    const claims = claimsOf(world(paper).filter(({ spec }) => spec.method === "rocm-kl" || spec.method === "rlcm"));
    for (const id of ["regularised-at-least-baselines", "appeal-over-alignment"]) {
      expect(claims.get(id), id).toMatchObject({ verdict: "undecided here", evidence: expect.stringMatching(/^runs of rocm-js, .* are missing, which decides nothing; /) as string });
    }
    expect(claims.get("rocm-sooner-than-rlcm")!.verdict).toBe("holds");
    expect(claims.get("diffusion-baselines-lose")).toMatchObject({ verdict: "undecided here", effect: null, evidence: null });
  });

  it("do not hold where the opposite is true", () => {
    const claims = claimsOf(world((method, beta, metric, reward) => (method === "rocm-none" ? (metric === reward ? 0.5 : 1) : metric === "judge" && method.startsWith("rocm") ? 1 : metric === "gold" && method.startsWith("rocm") ? -0.8 : -paper(method, beta, metric, reward))));
    for (const id of ["regularised-at-least-baselines", "no-regularisation-overfits", "kl-hellinger-best", "diffusion-baselines-lose", "appeal-over-alignment", "divergence-over-stopping"]) expect([id, claims.get(id)!.verdict]).toEqual([id, "does not hold"]);
  });

  it("are undecided where methods do not differ, in about 95 of 100 worlds", () => {
    // Not the comparison of scores across base models: those differ by what the two bases' own draws happen to be.
    const worlds = 12;
    const decided = { total: 0, wrong: 0 };
    for (let number = 0; number < worlds; number++) {
      const claims = claimsOf(world(() => 0, number, 0.1));
      for (const id of ["no-regularisation-overfits", "kl-hellinger-best", "diffusion-baselines-lose", "appeal-over-alignment", "interior-optimum", "divergence-over-stopping", "rocm-sooner-than-rlcm"]) {
        decided.total++;
        decided.wrong += Number(claims.get(id)!.verdict !== "undecided here");
      }
    }
    expect(decided.wrong / decided.total).toBeLessThan(0.12);
  }, 120_000);

  it("are undecided where every training has a single seed, however large the effect", () => {
    const claims = claimsOf(world(paper).filter(({ spec }) => spec.seed === 1));
    for (const id of ["regularised-at-least-baselines", "no-regularisation-overfits", "kl-hellinger-best", "diffusion-baselines-lose", "appeal-over-alignment", "rocm-sooner-than-rlcm"]) expect([id, claims.get(id)!.verdict]).toEqual([id, "undecided here"]);
    expect(claims.get("kl-hellinger-best")!.evidence).toContain("single seed");
    // Many trainings of one seed each are as good as several seeds where they are averaged.
    expect(claims.get("interior-optimum")!.verdict).toBe("holds");
  });

  it("are undecided without runs", () => {
    for (const { verdict, effect } of claimsOf([]).values()) expect([verdict, effect]).toEqual(["undecided here", null]);
  });
});
