import type { BootstrapOptions } from "../../evaluate/bootstrap.ts";
import type { Estimate } from "../../evaluate/cluster-statistics.ts";
import { meanOf } from "../../report/paired-statistics.ts";
import { type BetaChoice, heldOutMetrics } from "../choose-beta.ts";
import { baseOf, type BaseRecord, divergenceMethods, type Method, methods, type RunRecord, type TrainedReward, trainedRewards } from "../run-record.ts";
import { autoTarget, type BetaTable } from "./beta-table.ts";
import type { MatchedReward } from "./matched-reward.ts";
import type { PreferenceCurve } from "./preference-by-beta.ts";
import { combine, drawPrompts, estimateOf, estimateValues, type Grid, percentileInterval, type PromptDraws, sampleGrid, type Sampled, sideOf } from "./resample.ts";
import { baseScores, baseSpread, finalGrid, groupName, groupRuns, rowOf, type RunGroup, standardGainGrid } from "./select-runs.ts";
import { type SampledSpeed, speedGoals } from "./time-to-quality.ts";

export type Verdict = "holds" | "does not hold" | "undecided here";

/** A claim of the paper, or a goal of ours, and what the records say of it. */
export interface Claim {
  readonly id: string;
  readonly claim: string;
  readonly verdict: Verdict;
  /** The number that the rule looks at; null when its runs are missing. */
  readonly effect: Estimate | null;
  readonly unit: string;
  /** What decides, written before any result was seen; what gold preference means was changed once afterwards (docs/experiments.md). */
  readonly rule: string;
  /** Parts of the effect and what else the rule looked at; null when there are no runs to look at. */
  readonly evidence: string | null;
}

/** What "match" means: a difference in held-out gain of this many standard deviations of the base model's scores is none that a person would see. */
export const matchMargin = 0.05;

/** Said where a training has a single seed: nothing is then known of how much another seed would differ. */
const singleSeed = "trainings with a single seed decide nothing";

/** The side of an interval as a verdict on "is positive". */
function positive(effect: Estimate | null, obstacle = ""): Verdict {
  const side = effect === null || obstacle !== "" ? 0 : sideOf(effect);
  return side === 1 ? "holds" : side === -1 ? "does not hold" : "undecided here";
}

/** Both must hold; one that does not decides. */
export function both(a: Verdict, b: Verdict): Verdict {
  if (a === "does not hold" || b === "does not hold") return "does not hold";
  return a === "holds" && b === "holds" ? "holds" : "undecided here";
}

/** Everything the claims are read from. */
export interface ClaimInputs {
  readonly records: readonly RunRecord[];
  readonly base: BaseRecord;
  readonly choices: readonly BetaChoice[];
  readonly beta: BetaTable;
  readonly preference: readonly PreferenceCurve[];
  readonly speed: readonly SampledSpeed[];
  readonly matched: MatchedReward;
  readonly options: BootstrapOptions;
}

const diffusionMethods: readonly Method[] = methods.filter((method) => baseOf(method) === "emoji-teacher");

/** Values of Table 1's rows as bootstrap samples, so that several can be compared at once. */
class Cells {
  readonly #base: BaseRecord;
  readonly #choices: readonly BetaChoice[];
  readonly #groups: readonly RunGroup[];
  readonly #draws: PromptDraws;

  constructor({ records, base, choices, options }: ClaimInputs) {
    this.#base = base;
    this.#choices = choices;
    this.#groups = groupRuns(records);
    this.#draws = drawPrompts(base.prompts.length, options);
  }

  #of(reward: TrainedReward, method: Method, grid: (group: RunGroup) => Grid): Sampled | undefined {
    const group = rowOf(this.#groups, this.#choices, reward, method);
    return group === undefined ? undefined : sampleGrid(grid(group), this.#draws, groupName(group));
  }

  /** Mean gain over metrics, in standard deviations of the own base model. */
  gain(reward: TrainedReward, method: Method, metrics: readonly string[]): Sampled | undefined {
    return this.#of(reward, method, (group) => standardGainGrid(group, this.#base, metrics));
  }

  /** Mean score over the held-out metrics, as a distance from the consistency model's mean in its standard deviations: the same scale for both base models. */
  score(reward: TrainedReward, method: Method): Sampled | undefined {
    const metrics = heldOutMetrics(reward);
    return this.#of(reward, method, (group) => {
      const grids = metrics.map((metric) => {
        const [mean, spread] = [meanOf(baseScores(this.#base, "emoji", metric)), baseSpread(this.#base, "emoji", metric)];
        return finalGrid(group, this.#base, metric).map((row) => row.map((score) => (score - mean) / spread));
      });
      return grids[0]!.map((row, seed) => row.map((_, prompt) => meanOf(grids.map((grid) => grid[seed]![prompt]!))));
    });
  }

  /** Gain of one metric minus that of another, each in standard deviations of the own base model: within a picture, so what both share falls away. */
  excess(reward: TrainedReward, method: Method, metric: string, other: string): Sampled | undefined {
    return this.#of(reward, method, (group) => {
      const [first, second] = [metric, other].map((name) => standardGainGrid(group, this.#base, [name])) as [Grid, Grid];
      return first.map((row, seed) => row.map((value, prompt) => value - second[seed]![prompt]!));
    });
  }
}

type Value = (reward: TrainedReward, method: Method) => Sampled | undefined;

/** The same, sampled once: claims share rows. */
function sampledOnce(value: Value): Value {
  const known = new Map<string, Sampled | undefined>();
  return (reward, method) => {
    const key = `${reward}/${method}`;
    if (!known.has(key)) known.set(key, value(reward, method));
    return known.get(key);
  };
}

/** Mean over `first` minus mean over `second` of one reward (methods without runs left out); undefined when a side is empty. With `second` null the first mean alone. */
function contrast(value: Value, reward: TrainedReward, first: readonly Method[], second: readonly Method[] | null): Sampled | undefined {
  const plus = first.flatMap((method) => value(reward, method) ?? []);
  const minus = (second ?? []).flatMap((method) => value(reward, method) ?? []);
  if (plus.length === 0 || (second !== null && minus.length === 0)) return undefined;
  return combine([...plus, ...minus], (means) => meanOf(means.slice(0, plus.length)) - (minus.length === 0 ? 0 : meanOf(means.slice(plus.length))));
}

const number = (value: number | null): string => (value === null ? "–" : value.toFixed(3).replace("-", "−"));
const text = ({ mean, low, high }: Estimate): string => `${number(mean)} (${number(low)} … ${number(high)})`;

/** A comparison of two groups of methods. */
interface Pooled {
  readonly effect: Estimate | null;
  /** What keeps it from deciding anything: trainings with a single seed, or methods without runs, since a mean over some of them is not what a claim speaks of. Empty where nothing does. */
  readonly obstacle: string;
  readonly evidence: string | null;
}

/** `Pooled.obstacle`, as the beginning of a claim's evidence. */
function obstacleOf(value: Value, rows: readonly Method[], isSingleSeed: boolean, rewards: readonly TrainedReward[] = trainedRewards): string {
  const missing = rows.filter((method) => rewards.every((reward) => value(reward, method) === undefined));
  return (isSingleSeed ? `${singleSeed}; ` : "") + (missing.length === 0 ? "" : `runs of ${missing.join(", ")} are missing, which decides nothing; `);
}

/** Mean over `first` minus mean over `second` (null: `first` alone), mean over rewards, each reward as it is: the interval is over seeds and prompts. */
function compare(value: Value, first: readonly Method[], second: readonly Method[] | null): Pooled {
  const contrasts = trainedRewards.flatMap((reward) => {
    const sampled = contrast(value, reward, first, second);
    return sampled === undefined ? [] : [{ reward, sampled }];
  });
  if (contrasts.length === 0) return { effect: null, obstacle: "", evidence: null };
  const pooled = combine(contrasts.map(({ sampled }) => sampled), meanOf);
  const obstacle = obstacleOf(value, [...first, ...(second ?? [])], pooled.isSingleSeed);
  return { effect: estimateOf(pooled), obstacle, evidence: obstacle + contrasts.map(({ reward, sampled }) => `${reward} ${text(estimateOf(sampled))}`).join("; ") };
}

const sd = "standard deviations of the base model's scores, mean over the paper's metrics that are not trained on";

function outperforms(id: string, claim: string, value: Value, unit: string): Claim {
  const baselines: readonly Method[] = ["rlcm", "ddpo", "d3po", "dpok"];
  const { effect, obstacle } = compare(value, divergenceMethods, baselines);
  const singles = trainedRewards.flatMap((reward) => baselines.flatMap((baseline) => {
    const sampled = contrast(value, reward, divergenceMethods, [baseline]);
    return sampled === undefined ? [] : [{ name: `${reward} against ${baseline}`, estimate: estimateOf(sampled) }];
  }));
  const worse = singles.filter(({ estimate }) => (estimate.high ?? 0) < -matchMargin);
  const isBelow = effect !== null && (effect.high ?? 0) < -matchMargin;
  const isAtLeast = effect !== null && effect.low !== null && effect.low > -matchMargin;
  return {
    id,
    claim,
    verdict: obstacle !== "" ? "undecided here" : isBelow || worse.length > singles.length / 4 ? "does not hold" : isAtLeast && worse.length === 0 ? "holds" : "undecided here",
    effect,
    unit,
    rule: `Mean over the four divergences minus mean over the baselines, mean over rewards. "Outperform or match" holds when its 95 % interval is above −${matchMargin} and no single baseline with any reward is better by more than ${matchMargin} beyond its interval; it does not hold when the interval is below −${matchMargin} or more than a quarter of the ${singles.length} single comparisons are.`,
    evidence: singles.length === 0 ? null : obstacle + singles.map(({ name, estimate }) => `${name} ${text(estimate)}`).join("; "),
  };
}

function overfits(heldOut: Value, trained: Value): Claim {
  const lost = compare(heldOut, divergenceMethods, ["rocm-none"]);
  const won = compare(trained, ["rocm-none"], divergenceMethods);
  return {
    id: "no-regularisation-overfits",
    claim: "Without regularisation ROCM overfits: it gains more of the trained reward and less on the other metrics than with a divergence.",
    verdict: both(positive(lost.effect, lost.obstacle), positive(won.effect, won.obstacle)),
    effect: lost.effect,
    unit: sd,
    rule: "Held-out gain with a divergence (mean of four) minus without, and trained gain without minus with, mean over rewards: holds when both 95 % intervals are above 0; does not hold when one is below.",
    evidence: lost.evidence === null ? null : `held-out: ${lost.evidence}; trained reward, without minus with: ${won.effect === null ? "–" : text(won.effect)}`,
  };
}

function simple(id: string, claim: string, unit: string, rule: string, pooled: Pooled, sign: 1 | -1 = 1): Claim {
  const verdict = positive(pooled.effect, pooled.obstacle);
  const turned: Verdict = verdict === "holds" ? "does not hold" : verdict === "does not hold" ? "holds" : verdict;
  return { id, claim, verdict: sign === 1 ? verdict : turned, effect: pooled.effect, unit, rule, evidence: pooled.evidence };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The median ratio over comparisons, with its interval over seeds. */
function pooledSpeed(speed: readonly SampledSpeed[]): Estimate | null {
  const usable = speed.filter(({ row }) => row.status !== "no gain");
  if (usable.length === 0) return null;
  const mean = median(usable.map(({ ratio }) => ratio));
  const degrees = Math.min(...usable.map(({ row }) => row.seeds[0] + row.seeds[1] - 2));
  if (usable.some(({ row }) => Math.min(...row.seeds) < 2)) return { mean, standardError: null, low: null, high: null };
  const { low, high } = percentileInterval(usable[0]!.samples.map((_, sample) => median(usable.map(({ samples }) => samples[sample]!))), degrees);
  return { mean, standardError: null, low, high };
}

function sooner(id: string, claim: string, speed: readonly SampledSpeed[], goal = 1): Claim {
  const effect = pooledSpeed(speed);
  const later = speed.filter(({ row }) => row.side === -1);
  const isAbove = effect !== null && effect.low !== null && (goal === 1 ? effect.low > 1 : effect.low >= goal);
  const isBelow = effect !== null && effect.high !== null && effect.high < goal;
  return {
    id,
    claim,
    verdict: isBelow ? "does not hold" : isAbove && later.length === 0 ? "holds" : "undecided here",
    effect,
    unit: "times sooner (training time of the baseline to its own final held-out gain, over that of the method to the same gain; 0: never reached)",
    rule: `Median over rewards${speed.some(({ row }) => row.method !== speed[0]!.row.method) ? " and divergences" : ""} of the ratio: holds when its 95 % interval over seeds is ${goal === 1 ? "above 1" : `at least ${goal}`} and no single comparison's is below 1; does not hold when the median's is below ${goal}. Comparisons whose baseline gained nothing do not count.`,
    evidence: speed.length === 0 ? null : speed.map(({ row, ratio }) => `${row.reward} ${row.method}: ${row.status === "reached" ? `${number(ratio)}×` : row.status}`).join("; "),
  };
}

/** A curve read at the place where the other rewards' curves of the same divergence have their optimum. */
interface CrossRead {
  /** Gold preference there minus that at the smallest and at the largest beta; 0 where the others' optimum is that end. */
  readonly overSmallest: number;
  readonly overLargest: number;
  /** Predicted preference at the smallest beta minus that there. */
  readonly predictedRise: number;
}

/** Reads every curve at a place that its own luck did not choose. Curves are comparable by place: all sweeps of a divergence have the same multiples of a reward's unit. */
function crossRead(curves: readonly PreferenceCurve[]): CrossRead[] {
  return curves.flatMap((curve) => {
    const others = curves.filter((other) => other.method === curve.method && other.reward !== curve.reward && other.points.length === curve.points.length);
    if (others.length === 0 || curve.points.length < 3) return [];
    const means = curve.points.map((_, place) => meanOf(others.map(({ points }) => points[place]!.gold.mean)));
    const [first, best, last] = [curve.points[0]!, curve.points[means.indexOf(Math.max(...means))]!, curve.points.at(-1)!];
    return [{ overSmallest: best.gold.mean - first.gold.mean, overLargest: best.gold.mean - last.gold.mean, predictedRise: first.predicted.mean - best.predicted.mean }];
  });
}

function interiorOptimum(curves: readonly PreferenceCurve[]): Claim {
  const reads = crossRead(curves);
  const of = (value: (read: CrossRead) => number): Estimate | null => (reads.length < 2 ? null : estimateValues(reads.map(value)));
  const [small, large, rise] = [of((read) => read.overSmallest), of((read) => read.overLargest), of((read) => read.predictedRise)];
  const inside = curves.filter(({ isInterior }) => isInterior);
  const hacked = curves.filter((curve) => curve.hacked.length > 0);
  const isFalling = rise !== null && sideOf(rise) === -1;
  return {
    id: "interior-optimum",
    claim: "Beta has an optimum for the actual preference, below which the predicted preference goes on rising while the actual one falls.",
    verdict: isFalling ? "does not hold" : both(positive(small), positive(large)),
    effect: small,
    unit: "people's probability to prefer the picture to the base model's (gold) at the optimum minus that at the smallest beta",
    rule: "Each curve (reward and divergence) is read at the place of the other rewards' optimum, so that its own luck does not choose it. Holds when gold preference there is above that at the smallest and above that at the largest beta (95 % intervals between curves) and the predicted preference is not lower at the smallest beta; does not hold when one of the differences is below 0 or the predicted preference is lower. Needs two rewards.",
    evidence:
      curves.length === 0
        ? null
        : `over the largest beta ${large === null ? "–" : text(large)}; predicted at the smallest beta minus there ${rise === null ? "–" : text(rise)}; by their own intervals an optimum is inside in ${inside.length} of ${curves.length} curves, and betas below it are hacked in ${hacked.length}`,
  };
}

function appealOverAlignment(cells: Cells): Claim {
  const [gainOfAppeal, gainOfAgreement] = ["gold-appeal", "judge"].map((metric) => sampledOnce((reward, method) => cells.gain(reward, method, [metric]))) as [Value, Value];
  const difference = (value: Value): Sampled | undefined => contrast(value, "aesthetic", divergenceMethods, ["rlcm"]);
  const [appeal, alignment] = [difference(gainOfAppeal), difference(gainOfAgreement)];
  // From differences within each picture, because both leads come from the same seeds.
  const lead = contrast((reward, method) => cells.excess(reward, method, "gold-appeal", "judge"), "aesthetic", divergenceMethods, ["rlcm"]);
  const effect = lead === undefined ? null : estimateOf(lead);
  const obstacle = obstacleOf(gainOfAgreement, [...divergenceMethods, "rlcm"], appeal?.isSingleSeed ?? false, ["aesthetic"]);
  return {
    id: "appeal-over-alignment",
    claim: "With the aesthetic reward ROCM is far ahead of RLCM in visual appeal and hardly in agreement with the prompt.",
    verdict: both(positive(appeal === undefined ? null : estimateOf(appeal), obstacle), positive(effect, obstacle)),
    effect,
    unit: "gain over RLCM in gold appeal minus that in the judge's agreement, each in standard deviations of the base model's scores",
    rule: "Mean over the four divergences minus RLCM, trained on the aesthetic reward: holds when the 95 % intervals of the lead in appeal and of the lead in appeal minus the lead in agreement are both above 0; does not hold when one is below.",
    evidence: appeal === undefined || alignment === undefined ? null : `${obstacle}appeal ${text(estimateOf(appeal))}; agreement ${text(estimateOf(alignment))}`,
  };
}

function betterThanStopping({ pooled }: MatchedReward): Claim {
  const row = pooled.find(({ method, metric }) => method === null && metric === "gold");
  return {
    id: "divergence-over-stopping",
    claim: "A divergence buys more of the actual preference than stopping a run without one at the same trained reward.",
    verdict: positive(row?.difference ?? null),
    effect: row?.difference ?? null,
    unit: "gold gain in standard deviations of the base model's scores, at equal trained reward",
    rule: "Gold gain of the chosen beta's run at its end minus that of the run without a divergence where it first had the same trained reward; mean over divergences for every reward and seed, then over those, with their 95 % interval: holds above 0, does not hold below.",
    evidence: pooled.every(({ difference }) => difference === null) ? null : pooled.map(({ method, metric, difference }) => `${method ?? "all"}, ${metric} ${difference === null ? "–" : text(difference)}`).join("; "),
  };
}

function reachesTarget(id: string, claim: string, effect: Estimate | null, evidence: string): Claim {
  const verdict: Verdict = effect === null || effect.low === null || effect.high === null ? "undecided here" : effect.low >= autoTarget ? "holds" : effect.high < autoTarget ? "does not hold" : "undecided here";
  return { id, claim, verdict, effect, unit: "share of the best hand-swept beta's", rule: `Holds when the 95 % interval is at or above ${autoTarget}, does not hold when it is below.`, evidence: effect === null ? null : evidence };
}

/** Mean of independent ratios, one per reward. */
function meanRatio(ratios: readonly Estimate[]): Estimate | null {
  if (ratios.length === 0) return null;
  const mean = meanOf(ratios.map((ratio) => ratio.mean));
  const reach = (side: (ratio: Estimate) => number): number => Math.hypot(...ratios.map(side)) / ratios.length;
  return { mean, standardError: reach(({ standardError }) => standardError ?? Number.NaN), low: mean - reach((ratio) => ratio.mean - (ratio.low ?? Number.NaN)), high: mean + reach((ratio) => (ratio.high ?? Number.NaN) - ratio.mean) };
}

/** The paper's claims and our goals, in one list. A claim whose runs are missing is undecided. */
export function judgeClaims(inputs: ClaimInputs): Claim[] {
  const cells = new Cells(inputs);
  const heldOut = sampledOnce((reward, method) => cells.gain(reward, method, heldOutMetrics(reward)));
  const trained = sampledOnce((reward, method) => cells.gain(reward, method, [reward]));
  const score = sampledOnce((reward, method) => cells.score(reward, method));
  const heldOutSpeed = inputs.speed.filter(({ row }) => row.quality === "held-out gain");
  const regularised = (baseline: Method): SampledSpeed[] => heldOutSpeed.filter(({ row }) => row.baseline === baseline && (divergenceMethods as readonly Method[]).includes(row.method));
  const { beta } = inputs;
  return [
    outperforms("regularised-at-least-baselines", "Regularised ROCM outperforms or matches the baselines on the metrics that are not trained on (gain over the own base model).", heldOut, sd),
    outperforms("regularised-at-least-baselines-scores", "The same for the scores themselves, whatever the base models' are.", score, "standard deviations of the consistency model's scores, mean over the paper's metrics that are not trained on"),
    overfits(heldOut, trained),
    simple(
      "kl-hellinger-best",
      "KL and Hellinger are the best divergences.",
      sd,
      "Mean held-out gain of KL and Hellinger minus that of Jensen-Shannon and Fisher, mean over rewards: holds when its 95 % interval is above 0, does not hold when it is below.",
      compare(heldOut, ["rocm-kl", "rocm-hellinger"], ["rocm-js", "rocm-fisher"]),
    ),
    sooner("rocm-sooner-than-rlcm", "Regularised ROCM reaches a quality sooner than RLCM.", regularised("rlcm")),
    sooner("rlcm-sooner-than-ddpo", "RLCM reaches a quality sooner than DDPO.", heldOutSpeed.filter(({ row }) => row.baseline === "ddpo" && row.method === "rlcm")),
    interiorOptimum(inputs.preference),
    simple(
      "diffusion-baselines-lose",
      "The diffusion baselines lose on the metrics that are not trained on, against their own base model.",
      sd,
      "Held-out gain of DDPO, D3PO and DPOK over the diffusion model, mean over methods and rewards: holds when its 95 % interval is below 0, does not hold when it is above.",
      compare(heldOut, diffusionMethods, null),
      -1,
    ),
    simple(
      "consistency-over-diffusion",
      "Regularised ROCM and RLCM score higher than the diffusion baselines on the metrics that are not trained on.",
      "standard deviations of the consistency model's scores, mean over the paper's metrics that are not trained on",
      "Mean score of the four divergences and RLCM minus that of DDPO, D3PO and DPOK, mean over rewards: holds when its 95 % interval is above 0, does not hold when it is below.",
      compare(score, [...divergenceMethods, "rlcm"], diffusionMethods),
    ),
    appealOverAlignment(cells),
    betterThanStopping(inputs.matched),
    sooner("goal-rlcm-time", `Goal: regularised ROCM needs a ${speedGoals.rlcm}th of RLCM's time.`, regularised("rlcm"), speedGoals.rlcm),
    sooner("goal-ddpo-time", `Goal: regularised ROCM needs a ${speedGoals.ddpo}th of DDPO's time.`, regularised("ddpo"), speedGoals.ddpo),
    reachesTarget("goal-auto-beta", `Goal: automatic beta keeps ${100 * autoTarget} % of the best hand-swept gold preference.`, beta.autoOfBest, beta.rows.map((row) => `${row.reward} ${row.method} ${row.autoOfBest === null ? "–" : text(row.autoOfBest)}`).join("; ")),
    reachesTarget("goal-early-stopping", `Goal: the best checkpoint of a run without a divergence keeps ${100 * autoTarget} % of the best hand-swept gold gain.`, meanRatio(beta.stopping.flatMap(({ bestOfSweep }) => bestOfSweep ?? [])), beta.stopping.map((row) => `${row.reward} ${row.bestOfSweep === null ? "–" : text(row.bestOfSweep)}`).join("; ")),
  ];
}
