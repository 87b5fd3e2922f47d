import { calibrationFigure } from "../figures/calibration-figure.ts";
import { formatPercent } from "../figures/axes.ts";
import type { PairStatistics } from "./pair-statistics.ts";

/** Predicted probability against observed share as an SVG file, with bars of two standard errors. */
export function calibrationChart(name: string, { calibration, pairs, accuracy }: PairStatistics): string {
  const bins = calibration.flatMap(({ n, predicted, observed }) => {
    if (predicted === null || observed === null) return [];
    const error = Math.sqrt(Math.max(observed * (1 - observed), 1 / (4 * n)) / n);
    return [{ predicted, observed: { value: observed, low: Math.max(0, observed - 2 * error), high: Math.min(1, observed + 2 * error) }, count: n }];
  });
  const title = `${name}: predicted and observed choices of ${pairs} pairs${accuracy === null ? "" : `, accuracy ${formatPercent(accuracy.share, 3)}`}`;
  return calibrationFigure({ title, panels: [{ title: name, bins }], intervals: "two standard errors", event: "that the first of two pictures is preferred" });
}
