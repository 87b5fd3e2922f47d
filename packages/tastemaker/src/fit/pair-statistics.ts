import { normalQuantile } from "../evaluate/normal-distribution.ts";
import { wilson } from "../evaluate/cluster-statistics.ts";

/** What a reward says of a pair, beside what somebody said. */
export interface JudgedPair {
  /** Score of the first picture minus that of the second, in logits. */
  readonly margin: number;
  /** 1, 0 or 0.5 (a tie). */
  readonly label: number;
  /** True probability that the first is preferred, where it is known. */
  readonly probability: number | undefined;
}

/** A share with its 95 % interval (Wilson). */
export interface ShareEstimate {
  readonly share: number;
  readonly low: number;
  readonly high: number;
}

export interface CalibrationBin {
  readonly low: number;
  readonly high: number;
  readonly n: number;
  /** Mean predicted probability that the first is preferred; null in an empty bin. */
  readonly predicted: number | null;
  /** Share of pairs whose first was preferred, ties counting one half. */
  readonly observed: number | null;
}

/** How well a reward predicts choices. */
export interface PairStatistics {
  readonly pairs: number;
  readonly ties: number;
  /** Of the pairs that are no ties, those whose preferred picture has the higher score; null when all are ties. */
  readonly accuracy: ShareEstimate | null;
  /** Mean cross-entropy of labels and predicted probabilities, in nats; a coin has 0.693. */
  readonly logLoss: number;
  /** Mean of |predicted − observed| over the bins, weighted by their pairs. */
  readonly expectedCalibrationError: number;
  readonly calibration: readonly CalibrationBin[];
  /** Mean of max(p, 1 − p) over the pairs that are no ties, where every pair has its true probability: what the best judge reaches. */
  readonly noiseCeiling?: number;
  /** accuracy / noiseCeiling */
  readonly ofCeiling?: number;
  /** Share of pairs with the higher score for the picture that is truly preferred, noise of the choice aside. */
  readonly agreementWithTruth?: number;
}

const binCount = 10;

/** log(1 + e^x) without overflow. */
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** 1/(1 + e^−x) */
export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Cross-entropy of a label with the predicted probability σ(margin), in nats. */
export const crossEntropy = (margin: number, label: number): number => label * softplus(-margin) + (1 - label) * softplus(margin);

const mean = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0) / values.length;

function calibrationOf(judged: readonly JudgedPair[]): CalibrationBin[] {
  const bins: JudgedPair[][] = Array.from({ length: binCount }, () => []);
  for (const pair of judged) bins[Math.min(binCount - 1, Math.floor(sigmoid(pair.margin) * binCount))]!.push(pair);
  return bins.map((own, i) => ({
    low: i / binCount,
    high: (i + 1) / binCount,
    n: own.length,
    predicted: own.length === 0 ? null : mean(own.map(({ margin }) => sigmoid(margin))),
    observed: own.length === 0 ? null : mean(own.map(({ label }) => label)),
  }));
}

/** A margin of 0 is half right: no better than a coin. */
const isRight = (margin: number, label: number): number => (margin === 0 ? 0.5 : Number(margin > 0 === label > 0.5));

/** @param judged At least one pair. */
export function pairStatistics(judged: readonly JudgedPair[]): PairStatistics {
  const decided = judged.filter(({ label }) => label !== 0.5);
  const share = decided.length === 0 ? undefined : mean(decided.map(({ margin, label }) => isRight(margin, label)));
  const calibration = calibrationOf(judged);
  const truths = decided.map(({ probability }) => probability).filter((value) => value !== undefined);
  const knowsTruth = decided.length > 0 && truths.length === decided.length;
  const ceiling = knowsTruth ? mean(truths.map((p) => Math.max(p, 1 - p))) : undefined;
  const truly = knowsTruth ? decided.filter(({ probability }) => probability !== 0.5) : [];
  return {
    pairs: judged.length,
    ties: judged.length - decided.length,
    accuracy: share === undefined ? null : { share, ...wilson(share, decided.length, normalQuantile(0.975)) },
    logLoss: mean(judged.map(({ margin, label }) => crossEntropy(margin, label))),
    expectedCalibrationError: calibration.reduce((total, { n, predicted, observed }) => total + (n === 0 ? 0 : (n / judged.length) * Math.abs(predicted! - observed!)), 0),
    calibration,
    ...(ceiling === undefined ? {} : { noiseCeiling: ceiling, ofCeiling: share! / ceiling }),
    ...(truly.length === 0 ? {} : { agreementWithTruth: mean(truly.map(({ margin, probability }) => isRight(margin, probability!))) }),
  };
}

/**
 * The factor on margins under which the labels are most likely (a logistic regression with one slope and no offset), at least 0. For rewards whose unit is not logits.
 * The likelihood is concave in the factor, so that a Newton step, halved where it overshoots, finds the maximum.
 */
export function fitScale(judged: readonly Pick<JudgedPair, "margin" | "label">[]): number {
  const spread = Math.sqrt(mean(judged.map(({ margin }) => margin ** 2)));
  if (!(spread > 0)) return 1;
  // In units of the typical margin, and bounded where the labels follow the margins without exception: there the likelihood grows for ever.
  const most = 50;
  const lossAt = (x: number): number => mean(judged.map(({ margin, label }) => crossEntropy((x * margin) / spread, label)));
  let x = 1;
  for (let i = 0; i < 60; i++) {
    let [slope, curvature] = [0, 1e-12];
    for (const { margin, label } of judged) {
      const m = margin / spread;
      const p = sigmoid(x * m);
      slope += (p - label) * m;
      curvature += p * (1 - p) * m * m;
    }
    let step = slope / curvature;
    const before = lossAt(x);
    let next = Math.min(most, Math.max(0, x - step));
    for (let j = 0; j < 40 && lossAt(next) > before; j++) {
      step /= 2;
      next = Math.min(most, Math.max(0, x - step));
    }
    if (Math.abs(next - x) < 1e-10) break;
    x = next;
  }
  return x / spread;
}
