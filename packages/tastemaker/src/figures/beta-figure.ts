import { formatNumber } from "../report/html.ts";
import { formatPercent, gridLines, horizontalAxis, linearAxis, panelTitle, verticalAxis } from "./axes.ts";
import { betaAxis } from "./beta-axis.ts";
import { composeFigure, type Panel, panelGrid } from "./compose.ts";
import { type Estimate, formatCount, isFiniteEstimate } from "./estimate.ts";
import { curve, errorBar, lineKey, type LineStyle, marker } from "./marks.ts";
import { element, line, rectangle } from "./svg.ts";
import { label } from "./text.ts";
import { alarm, faint, gain, ink, quiet } from "./theme.ts";

/** Models tuned with one β against the base model; shares of held-out prompts in [0, 1]. */
export interface BetaPoint {
  readonly beta: number;
  /** Share in which the trained reward prefers the tuned model. */
  readonly predicted: Estimate;
  /** Share in which gold does. */
  readonly actual: Estimate;
}

export interface BetaPanel {
  /** Such as `PickScore, KL`. */
  readonly title: string;
  readonly points: readonly BetaPoint[];
}

export interface BetaFigureData {
  readonly title?: string;
  readonly panels: readonly BetaPanel[];
  /** Held-out prompts behind each share. */
  readonly prompts: number;
  /** Training runs behind a share, fewest and most. */
  readonly seeds: readonly [number, number];
  /** How intervals were made, such as `95 % bootstrap intervals over prompts`. */
  readonly intervals: string;
}

const actualStyle: LineStyle = { colour: gain, dash: "", marker: "circle", isHollow: false, width: 2 };
const predictedStyle: LineStyle = { colour: alarm, dash: "5 3", marker: "square", isHollow: true };

/** Pixels by which the two curves are moved apart, so that they do not hide one another's intervals. */
const markShift = 2;

/** The β whose actual share is highest; undefined without points. */
export function bestBeta(points: readonly BetaPoint[]): BetaPoint | undefined {
  return points.reduce<BetaPoint | undefined>((best, point) => (best === undefined || point.actual.value > best.actual.value ? point : best), undefined);
}

/** The β below the optimum where the prediction is no lower than there and the actual share's interval ends below the optimum: reward hacking. */
export function hackedBetas(points: readonly BetaPoint[]): number[] {
  const best = bestBeta(points);
  if (best === undefined) return [];
  return points.filter(({ beta, predicted, actual }) => beta < best.beta && predicted.value >= best.predicted.value && actual.high < best.actual.value).map(({ beta }) => beta);
}

const hatch = element("pattern", { id: "beta-hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, rectangle({ x: 0, y: 0, width: 6, height: 6 }, { fill: alarm, "fill-opacity": 0.07 }) + line(0, 0, 0, 6, { stroke: alarm, "stroke-width": 1.2, "stroke-opacity": 0.35 }));

function panelMarkup(panel: BetaPanel, { box, isLeft, isBottom }: Panel, range: readonly number[], isNarrow: boolean): string {
  const points = panel.points.filter(({ beta, predicted, actual }) => beta >= 0 && Number.isFinite(beta) && isFiniteEstimate(predicted) && isFiniteEstimate(actual)).sort((a, b) => a.beta - b.beta);
  const x = betaAxis(points.map(({ beta }) => beta), box);
  const y = linearAxis(range, box.y + box.height, box.y, 5, { format: formatPercent });
  const best = bestBeta(points);
  const hacked = new Set(hackedBetas(points));
  const shaded = points.flatMap(({ beta }, index) => {
    if (!hacked.has(beta)) return [];
    const own = x.at(beta);
    const left = index === 0 ? box.x : (own + x.at(points[index - 1]!.beta)) / 2;
    const right = index === points.length - 1 ? box.x + box.width : (own + x.at(points[index + 1]!.beta)) / 2;
    return [rectangle({ x: left, y: box.y, width: right - left, height: box.height }, { fill: "url(#beta-hatch)" })];
  });
  const series = (["predicted", "actual"] as const).map((kind) => {
    const style = kind === "actual" ? actualStyle : predictedStyle;
    const shift = kind === "actual" ? markShift : -markShift;
    const places = points.map((point) => ({ x: x.at(point.beta) + shift, y: y.at(point[kind].value) }));
    return (
      curve(places, style) +
      points.map((point, index) => errorBar({ x: places[index]!.x, low: y.at(point[kind].low), high: y.at(point[kind].high) }, style.colour)).join("") +
      places.map((place) => marker(style.marker, place, style)).join("")
    );
  });
  const optimum = best === undefined ? "" : line(x.at(best.beta) + markShift, box.y, x.at(best.beta) + markShift, box.y + box.height, { stroke: ink, "stroke-width": 1, "stroke-dasharray": "1.5 2.5" });
  const star = best === undefined ? "" : marker("star", { x: x.at(best.beta) + markShift, y: y.at(best.actual.value) }, { colour: ink, isHollow: false }, 5);
  const even = line(box.x, y.at(0.5), box.x + box.width, y.at(0.5), { stroke: faint, "stroke-width": 1.25 });
  const bestText = best === undefined ? "" : `best β = ${formatNumber(best.beta, 2)}`;
  return (
    shaded.join("") +
    (isLeft ? verticalAxis(box, y, "Preference for tuned") : gridLines(box, y)) +
    even +
    horizontalAxis(box, x, isBottom ? (isNarrow ? "β" : "β (weight of the divergence)") : undefined) +
    x.breakMarkup +
    optimum +
    series.join("") +
    star +
    (isNarrow ? panelTitle(box, panel.title, bestText) : panelTitle(box, panel.title) + label(bestText, box.x + box.width, box.y - 8, { anchor: "end", colour: quiet }))
  );
}

/** Predicted and actual win rate against the base model over β, a panel per reward, with the optimum and the region of reward hacking. */
export function betaFigure({ title = "What the trained reward promises and what gold sees, over β", panels, prompts, seeds, intervals }: BetaFigureData): string {
  const optima = panels.map(({ title: name, points }) => {
    const best = bestBeta(points);
    return best === undefined ? name : `${name}: best β ${formatNumber(best.beta, 2)} wins ${formatPercent(best.actual.value)} by gold, ${formatPercent(best.predicted.value)} by the reward`;
  });
  // One scale for all panels, so that heights compare.
  const range = [0.5, ...panels.flatMap(({ points }) => points.flatMap(({ predicted, actual }) => [predicted.low, predicted.high, actual.low, actual.high]))];
  return composeFigure({
    title,
    description: `How often the tuned model's picture is preferred to the base model's over β: predicted by the reward, and by gold. ${optima.join("; ")}.`,
    caption: `Share of ${formatCount(prompts)} held-out prompts (${seeds[0] === seeds[1] ? seeds[0] : `${seeds[0]} to ${seeds[1]}`} ${seeds[1] === 1 ? "training run" : "training runs"} per point, equal noise) where the trained reward likes the tuned model's picture better than the base model's, and how likely people are to prefer it (gold); bars are ${intervals}. Hatched: the reward promises at least as much as at the best β, but gold's interval ends below its best value.`,
    definitions: hatch,
    legend: [
      { draw: (x, y) => lineKey(x, y, predictedStyle), width: 22, label: "predicted (trained reward)" },
      { draw: (x, y) => lineKey(x, y, actualStyle), width: 22, label: "actual (gold)" },
      { draw: (x, y) => marker("star", { x: x + 7, y }, { colour: ink, isHollow: false }, 5), width: 14, label: "best β by gold" },
      { draw: (x, y) => rectangle({ x, y: y - 6, width: 18, height: 12 }, { fill: "url(#beta-hatch)" }), width: 18, label: "reward hacking" },
    ],
    body: (top) => {
      const columns = panels.length <= 4 ? 2 : panels.length % 4 === 0 ? 4 : 3;
      const isNarrow = columns > 2;
      const { panels: places, bottom } = panelGrid({ count: panels.length, columns, top, plotHeight: isNarrow ? 125 : 150, hasSubtitle: isNarrow, sharesScale: true });
      return { markup: panels.map((panel, index) => panelMarkup(panel, places[index]!, range, isNarrow)).join("\n"), bottom };
    },
  });
}
