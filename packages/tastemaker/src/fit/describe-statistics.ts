import type { PairStatistics } from "./pair-statistics.ts";

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;

/** The numbers in words, one line each. */
export function describeStatistics({ pairs, ties, accuracy, logLoss, expectedCalibrationError, noiseCeiling, ofCeiling, agreementWithTruth }: PairStatistics): string[] {
  return [
    `${pairs} pairs${ties === 0 ? "" : `, ${ties} of them ties`}`,
    ...(accuracy === null ? [] : [`accuracy ${percent(accuracy.share)} (95 %: ${percent(accuracy.low)} to ${percent(accuracy.high)})`]),
    ...(noiseCeiling === undefined ? [] : [`the best judge reaches ${percent(noiseCeiling)}; this one ${percent(ofCeiling!)} of that${agreementWithTruth === undefined ? "" : `, and agrees with the truth on ${percent(agreementWithTruth)}`}`]),
    `log-loss ${logLoss.toFixed(4)} (a coin: 0.6931), calibration error ${expectedCalibrationError.toFixed(4)}`,
  ];
}
