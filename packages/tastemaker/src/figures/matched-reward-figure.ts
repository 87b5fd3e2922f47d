import { type Method } from "../experiment/run-record.ts";
import { formatNumber } from "../report/html.ts";
import { horizontalAxis, linearAxis, panelTitle, verticalAxis } from "./axes.ts";
import { composeFigure, type Panel, panelGrid } from "./compose.ts";
import { type Estimate, formatCount, isFiniteEstimate } from "./estimate.ts";
import { curve, errorBar, flatErrorBar, lineKey, type LineStyle, marker } from "./marks.ts";
import { betaStyle, methodStyles } from "./method-style.ts";
import { placeLabels } from "./place-labels.ts";
import { element, line } from "./svg.ts";
import { label } from "./text.ts";
import { faint, ink } from "./theme.ts";

/** An evaluation during training: gain of the trained reward and of what was not trained on. */
export interface MatchedPoint {
  readonly iteration: number;
  readonly trained: Estimate;
  readonly other: Estimate;
}

/** One run, or the mean of runs, from the untrained model on, in order of iterations. */
export interface MatchedCurve {
  readonly method: Method;
  /** Of ROCM with a divergence; 0 for ROCM without, null for the others. */
  readonly beta: number | null;
  readonly points: readonly MatchedPoint[];
}

export interface MatchedPanel {
  /** Such as `PickScore: gold`. */
  readonly title: string;
  /** Titles of the axes with units. */
  readonly trainedAxis: string;
  readonly otherAxis: string;
  readonly curves: readonly MatchedCurve[];
}

export interface MatchedRewardFigureData {
  readonly title?: string;
  readonly panels: readonly MatchedPanel[];
  readonly prompts: number;
  readonly seeds: number;
  /** What the bars at the ends are, such as `95 % intervals over seeds`. */
  readonly intervals: string;
}

function finitePoints({ points }: MatchedCurve): MatchedPoint[] {
  return points.filter(({ trained, other }) => isFiniteEstimate(trained) && isFiniteEstimate(other)).sort((a, b) => a.iteration - b.iteration);
}

/** A panel's betas above 0, increasing. */
function betasOf({ curves }: MatchedPanel): number[] {
  return [...new Set(curves.flatMap(({ beta }) => (beta !== null && beta > 0 ? [beta] : [])))].sort((a, b) => a - b);
}

/** Styles and names of a panel's curves: β from dark to light by its place among the panel's, β = 0 and other methods in their own style. */
function styled(panel: MatchedPanel): { style: LineStyle; name: string; points: MatchedPoint[] }[] {
  const { curves } = panel;
  const betas = betasOf(panel);
  const families = new Set(curves.filter(({ beta }) => beta !== null && beta > 0).map(({ method }) => method));
  return curves.flatMap((one) => {
    const { method, beta } = one;
    const points = finitePoints(one);
    if (points.length === 0) return [];
    if (beta === null || beta === 0) return [{ style: methodStyles[method], name: beta === 0 ? "β = 0" : methodStyles[method].label, points }];
    const name = `${families.size > 1 ? `${methodStyles[method].label.replace("ROCM-", "")} ` : ""}β = ${formatNumber(beta, 2)}`;
    return [{ style: betaStyle(betas.indexOf(beta), betas.length), name, points }];
  });
}

function panelMarkup(panel: MatchedPanel, { box }: Panel): string {
  const curves = styled(panel);
  const points = curves.flatMap((one) => one.points);
  const lasts = curves.map((one) => one.points.at(-1)!);
  const x = linearAxis([0, ...points.map(({ trained }) => trained.value), ...lasts.flatMap(({ trained }) => [trained.low, trained.high])], box.x, box.x + box.width, 4);
  const y = linearAxis([0, ...points.map(({ other }) => other.value), ...lasts.flatMap(({ other }) => [other.low, other.high])], box.y + box.height, box.y, 5);
  const at = ({ trained, other }: MatchedPoint): { x: number; y: number } => ({ x: x.at(trained.value), y: y.at(other.value) });
  const drawn = curves.map(({ style, points: own, name }) => {
    const places = own.map(at);
    const last = own.at(-1)!;
    const end = places.at(-1)!;
    const bars = errorBar({ x: end.x, low: y.at(last.other.low), high: y.at(last.other.high) }, style.colour, 2.5) + flatErrorBar(end.y, x.at(last.trained.low), x.at(last.trained.high), style.colour, 2.5);
    // Where training without a divergence could have stopped.
    const stops = name === "β = 0" ? places.slice(1, -1).map((place) => marker("circle", place, style, 2)).join("") : "";
    return bars + curve(places, name === "β = 0" ? { ...style, width: 2 } : style) + stops + marker(style.marker, end, style, 4);
  });
  const start = element("circle", { cx: x.at(0), cy: y.at(0), r: 3, fill: ink });
  const zero = line(box.x, y.at(0), box.x + box.width, y.at(0), { stroke: faint, "stroke-width": 1 });
  const obstacles = curves.map(({ points: own }) => own.map(at));
  const bars = lasts.flatMap(({ trained, other }) => [
    [{ x: x.at(trained.low), y: y.at(other.value) }, { x: x.at(trained.high), y: y.at(other.value) }],
    [{ x: x.at(trained.value), y: y.at(other.low) }, { x: x.at(trained.value), y: y.at(other.high) }],
  ]);
  const names = placeLabels(curves.map(({ name, points: own }) => ({ text: name, ...at(own.at(-1)!) })), [...obstacles, ...bars], box);
  return verticalAxis(box, y, panel.otherAxis) + horizontalAxis(box, x, panel.trainedAxis) + zero + drawn.join("") + start + names.map((one) => label(one.text, one.x, one.y, { hasHalo: true })).join("") + panelTitle(box, panel.title);
}

/** What gold and the judge give at equal trained reward: a curve per β and method; stopping early is moving back along the curve of β = 0. */
export function matchedRewardFigure({ title = "Gold and judge at equal trained reward", panels, prompts, seeds, intervals }: MatchedRewardFigureData): string {
  const sentences = panels.map((panel) => `${panel.title}: ${styled(panel).map(({ name, points }) => `${name} ends at ${formatNumber(points.at(-1)!.trained.value, 3)}, ${formatNumber(points.at(-1)!.other.value, 3)}`).join("; ")}`);
  // One key per look: rewards have betas of their own, which share a look by their order.
  const keys = new Map<string, { readonly style: LineStyle; readonly names: Set<string> }>();
  for (const { name, style } of panels.flatMap(styled)) {
    const key = keys.get(JSON.stringify(style)) ?? { style, names: new Set<string>() };
    keys.set(JSON.stringify(style), { style, names: key.names.add(name) });
  }
  const keyText = (names: ReadonlySet<string>): string => [...names].map((name, index) => (index === 0 ? name : name.replace(/^β = /, ""))).join(" · ");
  return composeFigure({
    title,
    description: `Gains of the trained reward (horizontal) and of what was not trained on (vertical) during training. ${sentences.join(". ")}.`,
    caption: `Gains over the base model (black dot) on ${formatCount(prompts)} held-out prompts during training, mean of ${seeds} ${seeds === 1 ? "seed" : "seeds"}; bars at the ends are ${intervals}. Higher at the same place of the horizontal axis is better: more of what was not trained on for the same trained reward. Rings on β = 0 are its evaluations: stopping early moves back along that curve.`,
    legend: [...keys.values()].map(({ style, names }) => ({ draw: (x, y) => lineKey(x, y, style), width: 22, label: keyText(names) })),
    body: (top) => {
      const { panels: places, bottom } = panelGrid({ count: panels.length, columns: panels.length === 1 ? 1 : 2, top, plotHeight: panels.length === 1 ? 260 : 176, right: 20, hasAxisTitles: true });
      return { markup: panels.map((panel, index) => panelMarkup(panel, places[index]!)).join("\n"), bottom };
    },
  });
}
