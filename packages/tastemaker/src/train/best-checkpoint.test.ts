import { describe, expect, it } from "vitest";
import { normal } from "@tastemaker/tensor";
import type { WatchVerdict } from "../report/report-data.ts";
import { type BestSetup, chooseBest } from "./best-checkpoint.ts";
import type { EvaluationHistory, PromptScores } from "./evaluation-history.ts";

const quiet: WatchVerdict = { state: "quiet", findings: [] };
const suspected: WatchVerdict = { state: "suspected", findings: [] };
const count = 32;
const setup = (by: string, heldOut: BestSetup["heldOut"] = [{ name: "judge" }, { name: "artefacts", higherIsBetter: false }]): BestSetup => ({ trained: [{ name: "reward", weight: 2 }], heldOut, known: [{ name: "reward" }, ...heldOut], by });

/** Scores around the given means: the prompts' own parts (standard deviation 1) are the same at every look, a tenth of it is noise of the look. */
function scores(look: number, means: Readonly<Record<string, number>>): PromptScores {
  return Object.fromEntries(
    Object.entries(means).map(([name, mean]) => {
      const own = normal({ seed: 1, stream: `own/${name}`, indices: [0] }, count);
      const noise = normal({ seed: 1, stream: `noise/${name}`, indices: [look] }, count);
      return [name, Array.from(own, (value, i) => mean + value + 0.1 * noise[i]!)];
    }),
  );
}

/** The best after each look, as a run computes it. */
function bestOf(looks: readonly Readonly<Record<string, number>>[], by: BestSetup, verdicts: readonly WatchVerdict[] = []): (number | undefined)[] {
  let history: EvaluationHistory = { base: scores(0, { reward: 0, judge: 0, artefacts: 0 }), looks: [], best: undefined };
  return looks.map((means, index) => {
    history = { ...history, looks: [...history.looks, { iteration: index + 1, scores: scores(index + 1, means) }] };
    history = { ...history, best: chooseBest(history, verdicts[index] ?? quiet, by) };
    return history.best;
  });
}

describe("the best checkpoint", () => {
  const rising = [0, 1, 2, 3, 4];

  it("is the highest trained reward among looks that the held-out metrics cannot tell apart", () => {
    const looks = rising.map((reward) => ({ reward, judge: 0.5, artefacts: 0.1 }));
    expect(bestOf(looks, setup("held-out"))).toEqual([1, 2, 3, 4, 5]);
    expect(bestOf([...looks, { reward: 1, judge: 0.5, artefacts: 0.1 }], setup("held-out")).at(-1)).toBe(5);
  });

  it("is not one with clearly worse held-out metrics, whatever the trained reward", () => {
    const judge = [0.2, 0.4, 0.2, 0, -0.2];
    expect(bestOf(rising.map((reward, i) => ({ reward, judge: judge[i]!, artefacts: 0 })), setup("held-out"))).toEqual([1, 2, 2, 2, 2]);
    const artefacts = [0, -0.2, 0.1, 0.3, 0.5];
    expect(bestOf(rising.map((reward, i) => ({ reward, judge: 0, artefacts: artefacts[i]! })), setup("held-out"))).toEqual([1, 2, 2, 2, 2]);
  });

  it("does not slide down in steps that are each too small to tell", () => {
    const looks = Array.from({ length: 12 }, (_, i) => ({ reward: i, judge: -0.02 * i, artefacts: 0.02 * i }));
    const best = bestOf(looks, setup("held-out")).at(-1)!;
    // Two errors of the mean of two metrics: 2·0.1·√2/√2/√32 = 0.035, so two steps of 0.02, not twelve.
    expect(best).toBeLessThanOrEqual(4);
  });

  it("moves to a clearly better look although its reward is lower", () => {
    expect(bestOf([{ reward: 3, judge: 0, artefacts: 0 }, { reward: 1, judge: 1, artefacts: -1 }], setup("held-out"))).toEqual([1, 2]);
  });

  it("is not one at which the watch sees a fall", () => {
    const looks = rising.map((reward) => ({ reward, judge: 0.5, artefacts: 0.1 }));
    expect(bestOf(looks, setup("held-out"), [quiet, quiet, suspected, suspected, quiet])).toEqual([1, 2, 2, 2, 5]);
  });

  it("is the highest trained reward where that is asked for or nothing else is measured", () => {
    const looks = [3, 1, 4, 2].map((reward) => ({ reward, judge: -reward, artefacts: 0 }));
    expect(bestOf(looks, setup("reward"))).toEqual([1, 1, 3, 3]);
    expect(bestOf(looks, setup("held-out", []))).toEqual([1, 1, 3, 3]);
  });

  it("is the best of a named metric in its own direction", () => {
    const looks = [3, 1, 4, 2].map((artefacts, i) => ({ reward: i, judge: -artefacts, artefacts }));
    expect(bestOf(looks, setup("judge"))).toEqual([1, 2, 2, 2]);
    expect(bestOf(looks, setup("artefacts"))).toEqual([1, 2, 2, 2]);
  });

  it("can be chosen from one prompt, and without the base model", () => {
    const one = (iteration: number, judge: number, reward: number): EvaluationHistory["looks"][number] => ({ iteration, scores: { judge: [judge], reward: [reward] } });
    const history: EvaluationHistory = { base: undefined, looks: [one(1, 0.5, 1), one(2, 0.4, 2)], best: 1 };
    expect(chooseBest(history, quiet, setup("held-out", [{ name: "judge" }]))).toBe(1);
    expect(chooseBest({ ...history, looks: [one(1, 0.5, 1), one(2, 0.5, 2)] }, quiet, setup("held-out", [{ name: "judge" }]))).toBe(2);
    expect(chooseBest({ ...history, looks: [] }, quiet, setup("held-out"))).toBe(1);
  });
});
