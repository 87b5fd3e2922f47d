import { describe, expect, it } from "vitest";
import { normal } from "@tastemaker/tensor";
import type { EvaluationHistory, Look, WatchedMetric } from "./evaluation-history.ts";
import { blindWatch, judgeLooks, watchLevels, type WatchSetup } from "./over-optimisation.ts";

const settings = { falseAlarms: 0.05, minimumDrop: 0.2, looks: 2 };
const looksPlanned = 10;
const prompts = 48;
const setupOf = (watched: readonly WatchedMetric[], changes: Partial<WatchSetup["settings"]> = {}, plannedLooks = looksPlanned): WatchSetup => ({ trained: [{ name: "reward", weight: 1 }], watched, plannedLooks, settings: { ...settings, ...changes } });

const draw = (seed: number, stream: string, index: number, count = prompts): Float64Array => normal({ seed, stream, indices: [index] }, count);

/** How a measure moves: mean change at look k (1, 2, …) in standard deviations over the prompts. */
type Path = (look: number) => number;

interface Simulation {
  readonly seed: number;
  readonly metrics: Readonly<Record<string, Path>>;
  /** Maps a standard normal score to that of the metric. Default: itself. */
  readonly shape?: (z: number) => number;
  /** Standard deviation of a prompt's change between model and base. */
  readonly noise?: number;
  readonly count?: number;
}

/** A run on fixed prompts: each score is the prompt's own part, the metric's path, and what changes at this prompt from look to look. */
function simulate({ seed, metrics, shape = (z) => z, noise = 0.4, count = prompts }: Simulation): EvaluationHistory {
  const own = Object.fromEntries(Object.keys(metrics).map((name) => [name, draw(seed, `own/${name}`, 0, count)]));
  const scoresAt = (look: number): Look["scores"] =>
    Object.fromEntries(
      Object.entries(metrics).map(([name, path]) => {
        const fresh = draw(seed, `fresh/${name}`, look, count);
        return [name, Array.from(own[name]!, (value, i) => shape(value + noise * fresh[i]! + (look === 0 ? 0 : path(look))))];
      }),
    );
  return { base: scoresAt(0), looks: Array.from({ length: looksPlanned }, (_, k) => ({ iteration: 20 * (k + 1), scores: scoresAt(k + 1) })), best: undefined };
}

/** The first look (1, 2, …) at which the watch fires, each judged with what was known then. */
function firesAt(history: EvaluationHistory, setup: WatchSetup): number | undefined {
  for (let k = 1; k <= history.looks.length; k++) {
    if (judgeLooks({ ...history, looks: history.looks.slice(0, k) }, setup).state === "fired") return k;
  }
  return undefined;
}

const rising: Path = (look) => 0.3 * look;
const flat: Path = () => 0;
const watched = [{ name: "judge" }, { name: "taste" }, { name: "diversity" }];

function share(runs: number, fires: (seed: number) => boolean): number {
  let count = 0;
  for (let seed = 0; seed < runs; seed++) count += Number(fires(seed));
  return count / runs;
}

describe("false alarms", () => {
  const metrics = { reward: rising, judge: flat, taste: flat, diversity: flat };

  it("stay below the permitted share of healthy runs even where every significant fall in a single look counts", () => {
    const setup = setupOf(watched, { minimumDrop: 0, looks: 1 });
    const found = share(400, (seed) => firesAt(simulate({ seed, metrics }), setup) !== undefined);
    expect(found).toBeLessThan(0.05);
    // A watch that never looks would pass the line above.
    expect(share(100, (seed) => firesAt(simulate({ seed, metrics }), setupOf(watched, { minimumDrop: 0, looks: 1, falseAlarms: 0.5 })) !== undefined)).toBeGreaterThan(found);
  });

  it("are too many when every evaluation is tested as if it were the run's only one", () => {
    // A level of 0.1, of which half is for the base model: the usual 0.05 of one test.
    const naive = setupOf([{ name: "judge" }], { minimumDrop: 0, looks: 1, falseAlarms: 0.1 }, 1);
    const found = share(100, (seed) => {
      const history = simulate({ seed, metrics });
      return history.looks.some((look) => judgeLooks({ ...history, looks: [look] }, naive).state === "fired");
    });
    expect(found).toBeGreaterThan(0.1);
  });

  it("stay rare with the default settings", () => {
    expect(share(200, (seed) => firesAt(simulate({ seed, metrics }), setupOf(watched)) !== undefined)).toBeLessThan(0.01);
  });

  it("stay below the permitted share for saturated scores, as of a judge that is nearly always sure", () => {
    const shape = (z: number): number => 1 / (1 + Math.exp(-4 * (z + 1)));
    expect(share(200, (seed) => firesAt(simulate({ seed, metrics, shape }), setupOf(watched, { minimumDrop: 0, looks: 1 })) !== undefined)).toBeLessThan(0.05);
    expect(share(200, (seed) => firesAt(simulate({ seed, metrics, shape }), setupOf(watched)) !== undefined)).toBeLessThan(0.01);
  });

  it("do not come from falls that are certain but small", () => {
    const small = { reward: rising, judge: () => -0.1 };
    const simulation = (seed: number): EvaluationHistory => simulate({ seed, metrics: small, noise: 0.02 });
    expect(firesAt(simulation(0), setupOf([{ name: "judge" }], { minimumDrop: 0.05 }))).toBe(2);
    expect(share(100, (seed) => firesAt(simulation(seed), setupOf([{ name: "judge" }])) !== undefined)).toBe(0);
  });

  it("do not come from runs whose trained reward does not rise: that is no over-optimisation", () => {
    const failing = { reward: flat, judge: (look: number) => -0.3 * look };
    expect(share(200, (seed) => firesAt(simulate({ seed, metrics: failing }), setupOf([{ name: "judge" }], { looks: 1 })) !== undefined)).toBeLessThan(0.05);
  });
});

describe("over-optimisation", () => {
  it("is found in nearly every run whose judge drifts down by a tenth of a standard deviation per look", () => {
    const metrics = { reward: rising, judge: (look: number) => -0.1 * look, taste: flat, diversity: flat };
    expect(share(100, (seed) => firesAt(simulate({ seed, metrics }), setupOf(watched)) !== undefined)).toBeGreaterThan(0.97);
  });

  it("is found below the peak, when a metric rises first and never falls below the base model", () => {
    const hill: Path = (look) => (look <= 4 ? 0.3 * look : 1.2 - 0.2 * (look - 4));
    const history = simulate({ seed: 1, metrics: { reward: rising, judge: hill } });
    const setup = setupOf([{ name: "judge" }]);
    const at = firesAt(history, setup);
    expect(at).toBeGreaterThan(5);
    const { findings } = judgeLooks({ ...history, looks: history.looks.slice(0, at) }, setup);
    expect(findings[0]!.since).toBeGreaterThanOrEqual(60);
    expect(findings[0]!.since).toBeLessThanOrEqual(100);
  });

  it("is not one bad evaluation, only two in a row", () => {
    const dip: Path = (look) => (look === 5 ? -1.5 : 0);
    const setup = setupOf([{ name: "judge" }]);
    for (let seed = 0; seed < 20; seed++) {
      const history = simulate({ seed, metrics: { reward: rising, judge: dip } });
      expect(judgeLooks({ ...history, looks: history.looks.slice(0, 5) }, setup).state).toBe("suspected");
      expect(firesAt(history, setup)).toBeUndefined();
      expect(firesAt(history, setupOf([{ name: "judge" }], { looks: 1 }))).toBeLessThanOrEqual(5);
    }
  });

  it("means a rise where lower is better", () => {
    const up = simulate({ seed: 3, metrics: { reward: rising, artefacts: (look) => 0.3 * look } });
    expect(firesAt(up, setupOf([{ name: "artefacts", higherIsBetter: false }]))).toBeDefined();
    expect(firesAt(up, setupOf([{ name: "artefacts" }]))).toBeUndefined();
    const down = simulate({ seed: 3, metrics: { reward: rising, artefacts: (look) => -0.3 * look } });
    expect(firesAt(down, setupOf([{ name: "artefacts", higherIsBetter: false }]))).toBeUndefined();
  });

  it("counts the weighted sum as the trained reward, with its signs", () => {
    const history = simulate({ seed: 4, metrics: { bad: (look) => -0.3 * look, good: flat, judge: (look) => -0.3 * look } });
    const setup = { ...setupOf([{ name: "judge" }]), trained: [{ name: "bad", weight: -2 }, { name: "good", weight: 1 }] };
    expect(firesAt(history, setup)).toBeDefined();
    expect(firesAt(history, { ...setup, trained: [{ name: "bad", weight: 2 }, { name: "good", weight: 1 }] })).toBeUndefined();
  });

  it("is reported with the numbers that decided, which a hand computation confirms", () => {
    const base = { reward: Array.from({ length: 20 }, (_, i) => i % 3), judge: Array.from({ length: 20 }, (_, i) => i % 2) };
    // Differences of the judge alternate between −0.4 and −0.6: mean −0.5, s = 0.1·√(20/19), error s/√20.
    const look = (iteration: number): Look => ({ iteration, scores: { reward: base.reward.map((value, i) => value + 1 + 0.1 * (i % 2)), judge: base.judge.map((value, i) => value - (i % 2 === 0 ? 0.4 : 0.6)) } });
    const { state, findings } = judgeLooks({ base, looks: [look(5), look(10)], best: undefined }, setupOf([{ name: "judge" }]));
    expect(state).toBe("fired");
    const [{ drop, dropSize, rise, ...about }] = findings as [(typeof findings)[number]];
    expect(about).toEqual({ metric: "judge", since: 0, looks: 2, n: 20, level: 0.05 / 2 / 10 });
    expect(drop.mean).toBeCloseTo(0.5, 12);
    expect(drop.error).toBeCloseTo(0.1 / Math.sqrt(19), 12);
    expect(drop.t).toBeCloseTo(5 * Math.sqrt(19), 9);
    expect(drop.p).toBe(2 ** -20);
    expect(dropSize).toBeCloseTo(0.5 / Math.sqrt((20 * 0.25) / 19), 12);
    expect(rise.mean).toBeCloseTo(1.05, 12);
  });
});

describe("what cannot be judged", () => {
  const metrics = { reward: rising, judge: (look: number) => -0.5 * look };

  it("is a single prompt, however far it falls", () => {
    const history = simulate({ seed: 5, metrics, count: 1 });
    expect(history.looks.map((_, k) => judgeLooks({ ...history, looks: history.looks.slice(0, k + 1) }, setupOf([{ name: "judge" }], { falseAlarms: 0.5 })).state)).toEqual(Array(looksPlanned).fill("quiet"));
  });

  it("is four prompts with equal falls, whose t is infinite; the warning says how many it takes", () => {
    const scores = (value: number): Look["scores"] => ({ reward: Array<number>(4).fill(value), judge: Array<number>(4).fill(-value) });
    const history: EvaluationHistory = { base: scores(0), looks: [1, 2, 3].map((value) => ({ iteration: value, scores: scores(value) })), best: undefined };
    const setup = setupOf([{ name: "judge" }], {}, 3);
    expect(judgeLooks(history, setup).state).toBe("quiet");
    expect(blindWatch(setup, 4)).toContain("evaluate at least 7,");
    expect(blindWatch(setup, 7)).toBeUndefined();
    expect(blindWatch({ ...setup, plannedLooks: 0 }, 4)).toBeUndefined();
  });

  it("is a metric that is missing, is not finite, or has another number of prompts; the others still count", () => {
    const history = simulate({ seed: 6, metrics });
    const setup = setupOf([{ name: "absent" }, { name: "judge" }, { name: "broken" }, { name: "short" }]);
    const looks = history.looks.map(({ iteration, scores }, k) => ({ iteration, scores: { ...scores, broken: scores["judge"]!.map((value, i) => (i === k ? Number.NaN : value)), short: scores["judge"]!.slice(k) } }));
    const base = { ...history.base!, broken: history.base!["judge"]!, short: history.base!["judge"]! };
    const { state, findings } = judgeLooks({ base, looks, best: undefined }, setup);
    expect(state).toBe("fired");
    expect(findings.map(({ metric }) => metric)).toEqual(["judge"]);
  });

  it("is a history without any look or without the trained reward; without the base model, looks are compared with each other", () => {
    const history = simulate({ seed: 7, metrics });
    expect(judgeLooks({ base: history.base, looks: [], best: undefined }, setupOf([{ name: "judge" }])).state).toBe("quiet");
    expect(judgeLooks(history, { ...setupOf([{ name: "judge" }]), trained: [{ name: "gone", weight: 1 }] }).state).toBe("quiet");
    const { state, findings } = judgeLooks({ ...history, base: undefined }, setupOf([{ name: "judge" }]));
    expect(state).toBe("fired");
    expect(findings[0]!.since).toBeGreaterThan(0);
  });
});

describe("levels", () => {
  it("of all comparisons of a run add up to the permitted share", () => {
    for (const plannedLooks of [1, 2, 7, 40]) {
      const { base, earlier } = watchLevels(setupOf(watched, {}, plannedLooks));
      const sum = watched.length * (plannedLooks * base + ((plannedLooks * (plannedLooks - 1)) / 2) * earlier);
      expect(sum).toBeLessThanOrEqual(0.05 + 1e-12);
      if (plannedLooks > 1) expect(sum).toBeCloseTo(0.05, 12);
    }
  });
});
