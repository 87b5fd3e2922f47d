import { scaleLog } from "d3-scale";
import { formatNumber } from "../report/html.ts";
import { type Axis, horizontalAxis, linearAxis, panelTitle, verticalAxis } from "./axes.ts";
import { composeFigure, type Panel, panelGrid } from "./compose.ts";
import { endLabels, endLabelWidth } from "./end-labels.ts";
import { curve, type LineStyle, marker } from "./marks.ts";
import { type Box, line } from "./svg.ts";
import { label } from "./text.ts";
import { gain, ink, quiet } from "./theme.ts";

export interface ControllerPoint {
  readonly iteration: number;
  readonly beta: number;
  /** β·ΣD / |r|: what the divergence takes of the loss. */
  readonly ratio: number;
}

export interface ControllerRun {
  /** Such as the reward's name. */
  readonly label: string;
  readonly points: readonly ControllerPoint[];
}

export interface BetaControllerFigureData {
  readonly title?: string;
  readonly runs: readonly ControllerRun[];
  /** The ratio that the controller aims at; 0.1 in `auto`. */
  readonly target: number;
  /** Iterations over which each point is a mean; 1 when raw. */
  readonly window: number;
}

const runStyles: readonly LineStyle[] = [
  { colour: gain, dash: "", marker: "circle", isHollow: false },
  { colour: "#d1480b", dash: "7 3", marker: "square", isHollow: true },
  { colour: "#00856b", dash: "2.5 2.5", marker: "triangle", isHollow: false },
  { colour: "#9264c4", dash: "8 3 2 3", marker: "diamond", isHollow: true },
  { colour: "#b87900", dash: "4 2", marker: "triangle-down", isHollow: false },
  { colour: "#767676", dash: "", marker: "cross", isHollow: false },
];

/** A logarithmic axis over positive values, at least a factor of four wide, with ticks at 1, 2, 5 where there is room. */
function logAxis(values: readonly number[], box: Box): Axis {
  const positive = values.filter((value) => value > 0 && Number.isFinite(value));
  let [low, high] = positive.length === 0 ? [0.1, 1] : [Math.min(...positive), Math.max(...positive)];
  const widen = Math.sqrt(Math.max(1, 4 / (high / low))) * 1.1;
  [low, high] = [low / widen, high * widen];
  const scale = scaleLog([low, high], [box.y + box.height, box.y]);
  const decades = Math.log10(high / low);
  const factors = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5];
  const ticks = Array.from({ length: Math.ceil(decades) + 2 }, (_, index) => Math.floor(Math.log10(low)) + index)
    .flatMap((power) => factors.map((factor) => Number(`${factor}e${power}`)))
    .filter((value) => value >= low && value <= high);
  return { at: (value) => scale(value), ticks: ticks.map((value) => ({ at: scale(value), label: formatNumber(value, 2) })) };
}

/** β and the share β·ΣD / |r| over iterations, a line per run. */
export function betaControllerFigure({ title = "How the controller sets β", runs, target, window }: BetaControllerFigureData): string {
  const drawn = runs.map(({ label: name, points }, index) => ({
    name,
    style: runStyles[index % runStyles.length]!,
    points: points.filter(({ iteration, beta, ratio }) => Number.isFinite(iteration) && Number.isFinite(beta) && Number.isFinite(ratio)).sort((a, b) => a.iteration - b.iteration),
  }));
  const last = Math.max(1, ...drawn.flatMap(({ points }) => points.map(({ iteration }) => iteration)));
  const panel = ({ box, isBottom }: Panel, key: "beta" | "ratio"): string => {
    const x = linearAxis([0, last], box.x, box.x + box.width, 6, { isTight: true });
    const y = logAxis([...drawn.flatMap(({ points }) => points.map((point) => point[key])), ...(key === "ratio" ? [target] : [])], box);
    // On a logarithmic axis there is no place for 0, which is where every ratio starts.
    const shown = drawn.map((run) => ({ ...run, points: run.points.filter((point) => point[key] > 0) })).filter(({ points }) => points.length > 0);
    const lines = shown.map(({ style, points }, order) => {
      const places = points.map((point) => ({ x: x.at(point.iteration), y: y.at(point[key]) }));
      const every = Math.max(2, Math.ceil(places.length / 6));
      return curve(places, style) + places.filter((_, index) => index % every === Math.floor((order * every) / Math.max(1, shown.length)) && index < places.length - 1).map((place) => marker(style.marker, place, style, 3)).join("");
    });
    const goal = key === "ratio" ? line(box.x, y.at(target), box.x + box.width, y.at(target), { stroke: ink, "stroke-width": 1.25, "stroke-dasharray": "2 3" }) : "";
    const goalText = key === "ratio" ? label(`dotted: aim ${formatNumber(target, 2)}`, box.x + box.width, box.y - 8, { anchor: "end", colour: quiet }) : "";
    return (
      verticalAxis(box, y, key === "beta" ? "β (log)" : "β·ΣD / |r| (log)") +
      horizontalAxis(box, x, isBottom ? "Iteration" : undefined) +
      goal +
      lines.join("") +
      endLabels(shown.map(({ style, name, points }) => ({ style, label: name, x: x.at(points.at(-1)!.iteration), y: y.at(points.at(-1)![key]) })), box) +
      panelTitle(box, key === "beta" ? "Weight of the divergence" : "Share of the divergence in the loss") +
      goalText
    );
  };
  return composeFigure({
    title,
    description: `β and β·ΣD / |r| over iterations. ${drawn.map(({ name, points }) => (points.length === 0 ? name : `${name}: β from ${formatNumber(points[0]!.beta, 2)} to ${formatNumber(points.at(-1)!.beta, 2)}, share at the end ${formatNumber(points.at(-1)!.ratio, 2)}`)).join("; ")}.`,
    caption: `One line per training run (n = 1 each)${window > 1 ? `, means over ${window} iterations` : ""}. ΣD is the divergence from the base model summed over the sampling steps, |r| the mean size of the reward; the controller aims at β·ΣD / |r| = ${formatNumber(target, 2)}.`,
    body: (top) => {
      const { panels, bottom } = panelGrid({ count: 2, columns: 1, top, plotHeight: 150, right: endLabelWidth(drawn.map(({ name }) => name)) });
      return { markup: `${panel(panels[0]!, "beta")}\n${panel(panels[1]!, "ratio")}`, bottom };
    },
  });
}
