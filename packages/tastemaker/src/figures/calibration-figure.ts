import { formatNumber } from "../report/html.ts";
import { formatPercent, horizontalAxis, linearAxis, panelTitle, verticalAxis } from "./axes.ts";
import { composeFigure, type Panel, panelGrid } from "./compose.ts";
import { type Estimate, formatCount, isFiniteEstimate } from "./estimate.ts";
import { curve, errorBar, marker } from "./marks.ts";
import { line, rectangle } from "./svg.ts";
import { label } from "./text.ts";
import { faint, gain, grid, ink, quiet } from "./theme.ts";

/** Pairs of pictures for which the reward predicted about the same share of wins. */
export interface CalibrationBin {
  /** Mean predicted share in [0, 1]. */
  readonly predicted: number;
  /** Share that gold gave. */
  readonly observed: Estimate;
  /** Pairs in the bin. */
  readonly count: number;
}

export interface CalibrationPanel {
  readonly title: string;
  readonly bins: readonly CalibrationBin[];
}

export interface CalibrationFigureData {
  readonly title?: string;
  readonly panels: readonly CalibrationPanel[];
  readonly intervals: string;
  /** What was predicted, such as `that gold prefers the first of two pictures`. */
  readonly event: string;
}

/** Mean distance between prediction and observation, weighted by n (expected calibration error; Naeini et al. 2015). */
export function calibrationError(bins: readonly CalibrationBin[]): number {
  const total = bins.reduce((sum, { count }) => sum + count, 0);
  return total === 0 ? 0 : bins.reduce((sum, { predicted, observed, count }) => sum + count * Math.abs(predicted - observed.value), 0) / total;
}

const countsHeight = 30;

function finiteBins({ bins }: CalibrationPanel): CalibrationBin[] {
  return bins.filter(({ predicted, observed, count }) => Number.isFinite(predicted) && isFiniteEstimate(observed) && count > 0).sort((a, b) => a.predicted - b.predicted);
}

function panelMarkup(panel: CalibrationPanel, { box, isLeft, isBottom }: Panel): string {
  const bins = finiteBins(panel);
  const plot = { ...box, height: box.height - countsHeight - 16 };
  const x = linearAxis([0, 1], box.x, box.x + box.width, 4, { isTight: true, format: formatPercent });
  const y = linearAxis([0, 1], plot.y + plot.height, plot.y, 4, { isTight: true, format: formatPercent });
  const total = bins.reduce((sum, { count }) => sum + count, 0);
  const most = Math.max(1, ...bins.map(({ count }) => count));
  const floor = box.y + box.height;
  const style = { colour: gain, dash: "", marker: "circle", isHollow: false } as const;
  const places = bins.map(({ predicted, observed }) => ({ x: x.at(predicted), y: y.at(observed.value) }));
  const counts = bins.map(({ predicted, count }) => rectangle({ x: x.at(predicted) - 5, y: floor - (count / most) * countsHeight, width: 10, height: (count / most) * countsHeight }, { fill: faint, "fill-opacity": 0.65 }));
  return (
    verticalAxis(plot, y, isLeft ? "Observed" : undefined) +
    line(plot.x, plot.y + plot.height, plot.x + plot.width, plot.y, { stroke: ink, "stroke-width": 1, "stroke-dasharray": "4 3" }) +
    line(box.x, floor - countsHeight, box.x + box.width, floor - countsHeight, { stroke: grid, "stroke-width": 1 }) +
    label(`n = ${formatCount(most)}`, box.x - 7, floor - countsHeight + 4.5, { anchor: "end", colour: quiet }) +
    counts.join("") +
    horizontalAxis(box, x, isBottom ? "Predicted" : undefined) +
    bins.map(({ predicted, observed }) => errorBar({ x: x.at(predicted), low: y.at(observed.low), high: y.at(observed.high) }, gain)).join("") +
    curve(places, { ...style, width: 1 }, 0.5) +
    places.map((place) => marker("circle", place, style, 3.5)).join("") +
    panelTitle(box, panel.title, `n = ${formatCount(total)}, error ${formatPercent(calibrationError(bins), 2)}`)
  );
}

/** Predicted against observed shares of a reward model, with the number of pairs behind each point. */
export function calibrationFigure({ title = "Calibration of the reward models", panels, intervals, event }: CalibrationFigureData): string {
  return composeFigure({
    title,
    description: `Predicted and observed share ${event}. ${panels.map((panel) => `${panel.title}: error ${formatPercent(calibrationError(finiteBins(panel)), 2)}, ${finiteBins(panel).map(({ predicted, observed, count }) => `${formatNumber(predicted, 2)} → ${formatNumber(observed.value, 2)} (n ${count})`).join(", ")}`).join(". ")}.`,
    caption: `Predicted and observed probability ${event}. Bars are ${intervals}; on the dashed line prediction and observation agree. Grey columns: pairs per point; the line above them is the n that stands beside it. Error: mean distance from the dashed line, weighted by n.`,
    body: (top) => {
      const columns = panels.length > 4 ? 3 : panels.length === 3 ? 3 : 2;
      const { panels: places, bottom } = panelGrid({ count: panels.length, columns, top, plotHeight: columns === 3 ? 180 : 210, right: columns === 3 ? 14 : 22, hasSubtitle: true });
      return { markup: panels.map((panel, index) => panelMarkup(panel, places[index]!)).join("\n"), bottom };
    },
  });
}
