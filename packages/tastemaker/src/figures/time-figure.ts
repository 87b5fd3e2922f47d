import type { Method } from "../experiment/run-record.ts";
import { formatNumber } from "../report/html.ts";
import { horizontalAxis, linearAxis, panelTitle, verticalAxis } from "./axes.ts";
import { composeFigure, type Panel, panelGrid } from "./compose.ts";
import { type Estimate, isFiniteEstimate } from "./estimate.ts";
import { endLabels, endLabelWidth } from "./end-labels.ts";
import { band, curve, marker } from "./marks.ts";
import { methodStyles } from "./method-style.ts";
import { element, line } from "./svg.ts";
import { textWidth } from "./text.ts";
import { faint } from "./theme.ts";

/** Pixels left of each plot; tighter than usual, because names stand at the right. */
const leftRoom = 56;

export interface TimePoint extends Estimate {
  /** Training time on the calibrated machine. */
  readonly seconds: number;
}

/** A method's mean over its seeds with the band of its interval, in order of time. */
export interface TimeCurve {
  readonly method: Method;
  readonly points: readonly TimePoint[];
}

export interface TimePanel {
  /** Such as `trained on PickScore`. */
  readonly title: string;
  /** Of the vertical axis, with its unit, such as `Gain in PickScore`. */
  readonly metric: string;
  readonly curves: readonly TimeCurve[];
}

export interface TimeFigureData {
  readonly title?: string;
  readonly panels: readonly TimePanel[];
  /** Held-out prompts behind each point. */
  readonly prompts: number;
  readonly seeds: number;
  /** What bands are, such as `95 % intervals over seeds`. */
  readonly intervals: string;
  /** Whose crossing of the others' last level is marked; `rocm-kl` unless told. */
  readonly leader?: Method;
  /** Whose last level is marked; RLCM and DDPO unless told. */
  readonly followers?: readonly Method[];
}

/** Seconds at which a curve first reaches a level, linearly between its points; undefined when it never does. */
export function timeToReach(points: readonly TimePoint[], level: number): number | undefined {
  for (const [index, point] of points.entries()) {
    if (point.value < level) continue;
    const before = points[index - 1];
    if (before === undefined) return point.seconds;
    return before.seconds + ((level - before.value) / (point.value - before.value)) * (point.seconds - before.seconds);
  }
  return undefined;
}

function finitePoints({ points }: TimeCurve): TimePoint[] {
  return points.filter((point) => Number.isFinite(point.seconds) && isFiniteEstimate(point)).sort((a, b) => a.seconds - b.seconds);
}

interface Catch {
  readonly method: Method;
  readonly level: number;
  readonly end: number;
  readonly seconds: number;
}

/** When the leader reaches what each follower ends with; only where that is sooner. */
function catches({ curves }: TimePanel, leader: Method, followers: readonly Method[]): Catch[] {
  const own = curves.find(({ method }) => method === leader);
  if (own === undefined) return [];
  return followers.flatMap((method) => {
    const other = curves.find((one) => one.method === method);
    const last = other === undefined ? undefined : finitePoints(other).at(-1);
    const seconds = last === undefined ? undefined : timeToReach(finitePoints(own), last.value);
    return last === undefined || seconds === undefined || seconds >= last.seconds ? [] : [{ method, level: last.value, end: last.seconds, seconds }];
  });
}

function catchText(found: readonly Catch[], leader: Method): string {
  if (found.length === 0) return "";
  return `${methodStyles[leader].label} reaches ${found.map(({ method, seconds }, index) => `${methodStyles[method].label}’s ${index === 0 ? "end " : ""}at ${formatNumber(seconds, seconds >= 100 ? 3 : 2)} s`).join(", ")}`;
}

function panelMarkup(panel: TimePanel, { box, isBottom }: Panel, data: TimeFigureData): string {
  const leader = data.leader ?? "rocm-kl";
  const curves = panel.curves.map((one) => ({ style: methodStyles[one.method], points: finitePoints(one) })).filter(({ points }) => points.length > 0);
  const all = curves.flatMap(({ points }) => points);
  const x = linearAxis([0, ...all.map(({ seconds }) => seconds)], box.x, box.x + box.width, 4, { isTight: true });
  const y = linearAxis([0, ...all.flatMap(({ low, high }) => [low, high])], box.y + box.height, box.y, 5);
  const bands = curves.map(({ style, points }) => band(points.map(({ seconds, low, high }) => ({ x: x.at(seconds), low: y.at(low), high: y.at(high) })), style.colour, 0.11));
  const lines = curves.map(({ style, points }, order) => {
    const places = points.map(({ seconds, value }) => ({ x: x.at(seconds), y: y.at(value) }));
    // Markers of different curves stand at different times, so that none hides another.
    const every = Math.max(2, Math.ceil(places.length / 3));
    const shown = places.filter((_, index) => index > 0 && index < places.length - 1 && (index + order) % every === 0);
    return curve(places, style) + shown.map((place) => marker(style.marker, place, style, 3)).join("");
  });
  const found = catches(panel, leader, data.followers ?? ["rlcm", "ddpo"]);
  const marks = found.map(({ method, level, end, seconds }) => {
    const [at, height, { colour }] = [x.at(seconds), y.at(level), methodStyles[method]];
    return (
      line(at, height, x.at(end), height, { stroke: colour, "stroke-width": 1, "stroke-dasharray": "1 2.5" }) +
      line(at, height, at, box.y + box.height, { stroke: colour, "stroke-width": 1, "stroke-dasharray": "1 2.5" })
    );
  });
  const rings = found.map(({ method, level, seconds }) => element("circle", { cx: x.at(seconds), cy: y.at(level), r: 5, fill: "none", stroke: methodStyles[method].colour, "stroke-width": 1.5 }));
  const zero = line(box.x, y.at(0), box.x + box.width, y.at(0), { stroke: faint, "stroke-width": 1 });
  const ends = curves.map(({ style, points }) => ({ style, label: style.label, x: x.at(points.at(-1)!.seconds), y: y.at(points.at(-1)!.value) }));
  const full = catchText(found, leader);
  // Long names leave the leader to the caption.
  const text = textWidth(full) <= box.width + leftRoom + endLabelWidth(curves.map(({ style }) => style.label)) ? full : full.slice(full.indexOf(" reaches ") + 9);
  return (
    verticalAxis(box, y, panel.metric, leftRoom) +
    horizontalAxis(box, x, isBottom ? "Training time (s)" : undefined) +
    zero +
    bands.join("") +
    marks.join("") +
    lines.join("") +
    rings.join("") +
    endLabels(ends, box) +
    panelTitle(box, panel.title, text, box.x - leftRoom)
  );
}

/** Gains over training time, a line per method with the band over its seeds, and when ROCM has what others end with. */
export function timeFigure(data: TimeFigureData): string {
  const { title = "Gain over training time", panels, prompts, seeds, intervals, leader = "rocm-kl" } = data;
  const sentences = panels.map((panel) => {
    const ends = panel.curves.flatMap((one) => {
      const last = finitePoints(one).at(-1);
      return last === undefined ? [] : [`${methodStyles[one.method].label} ${formatNumber(last.value, 3)}`];
    });
    const text = catchText(catches(panel, leader, data.followers ?? ["rlcm", "ddpo"]), leader);
    return `${panel.title}, ${panel.metric} at the end: ${ends.join(", ")}${text === "" ? "" : `; ${text}`}`;
  });
  const labels = panels.flatMap(({ curves }) => curves.map(({ method }) => methodStyles[method].label));
  return composeFigure({
    title,
    description: `${sentences.join(". ")}.`,
    caption: `Mean gain over the base model on ${prompts} held-out prompts with equal noise, over ${seeds} ${seeds === 1 ? "seed" : "seeds"}; bands are ${intervals}. Training time is iterations × seconds per iteration on one thread of an idle machine. Rings and dotted lines: when ${methodStyles[leader].label} reaches what another method ends with.`,
    body: (top) => {
      const columns = panels.length === 1 ? 1 : 2;
      const { panels: places, bottom } = panelGrid({ count: panels.length, columns, top, plotHeight: columns === 1 ? 260 : 176, right: endLabelWidth(labels), left: leftRoom, hasSubtitle: true });
      return { markup: panels.map((panel, index) => panelMarkup(panel, places[index]!, data)).join("\n"), bottom };
    },
  });
}
