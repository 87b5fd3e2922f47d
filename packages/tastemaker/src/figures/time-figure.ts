import type { Method } from "../experiment/run-record.ts";
import { formatNumber } from "../report/html.ts";
import { horizontalAxis, linearAxis, logAxisFromZero, panelTitle, verticalAxis } from "./axes.ts";
import { composeFigure, type Panel, panelGrid } from "./compose.ts";
import { type Estimate, isFiniteEstimate } from "./estimate.ts";
import { endLabels, endLabelWidth } from "./end-labels.ts";
import { band, curve, marker } from "./marks.ts";
import { methodStyles } from "./method-style.ts";
import { element, line, round } from "./svg.ts";
import { textWidth } from "./text.ts";
import { faint } from "./theme.ts";

/** Pixels left of each plot; tighter than usual, because names stand at the right. */
const leftRoom = 63;

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

/** What may run out of its panel, with its last value at its name, where showing all of it would press the other curves into one line: a model that hacks its reward loses without limit. */
const mayLeave: Method = "rocm-none";

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

/** Curves as they are drawn: finite points in order of time; without any, none. */
function finiteCurves(curves: readonly TimeCurve[]): TimeCurve[] {
  return curves
    .map(({ method, points }) => ({ method, points: points.filter((point) => Number.isFinite(point.seconds) && isFiniteEstimate(point)).sort((a, b) => a.seconds - b.seconds) }))
    .filter(({ points }) => points.length > 0);
}

/** When a drawn curve ends. */
const lastSecond = ({ points }: TimeCurve): number => points.at(-1)!.seconds;

interface Catch {
  readonly method: Method;
  readonly level: number;
  readonly end: number;
  readonly seconds: number;
}

interface Race {
  readonly catches: readonly Catch[];
  /** The same in words, and who gained nothing; `short` leaves the leader's name to the caption. */
  readonly text: string;
  readonly short: string;
}

/** When the leader reaches what each follower has gained at the end; only where that is sooner. */
function raceOf(curves: readonly TimeCurve[], { leader = "rocm-kl", followers = ["rlcm", "ddpo"] }: TimeFigureData): Race {
  const pointsOf = (method: Method): readonly TimePoint[] => curves.find((one) => one.method === method)?.points ?? [];
  const ends = followers.flatMap((method) => pointsOf(method).slice(-1).map(({ value, seconds }) => ({ method, level: value, end: seconds })));
  const catches = ends.flatMap((one): Catch[] => {
    const seconds = one.level <= 0 ? undefined : timeToReach(pointsOf(leader), one.level);
    return seconds === undefined || seconds >= one.end ? [] : [{ ...one, seconds }];
  });
  const idle = ends.filter(({ level }) => level <= 0).map(({ method }) => methodStyles[method].label);
  const nothing = idle.length === 0 ? [] : [`${idle.join(" and ")} ${idle.length === 1 ? "gains" : "gain"} nothing`];
  const caught = catches.map(({ method, seconds }, index) => `${methodStyles[method].label}’s ${index === 0 ? "end " : ""}at ${formatNumber(seconds, seconds >= 100 ? 3 : 2)} s`).join(", ");
  const say = (before: string): string => [...(caught === "" ? [] : [before + caught]), ...nothing].join("; ");
  return { catches, text: say(`${methodStyles[leader].label} reaches `), short: say("") };
}

/** What the vertical axis spans: every interval and 0, but of a curve that would take more than half of it for itself a quarter beyond the others. */
function spanOf(curves: readonly TimeCurve[]): { readonly span: readonly number[]; readonly leaves: boolean } {
  const ends = (some: readonly TimeCurve[]): [number, number] => {
    const values = [0, ...some.flatMap(({ points }) => points.flatMap(({ low, high }) => [low, high]))];
    return [Math.min(...values), Math.max(...values)];
  };
  const [all, rest] = [ends(curves), ends(curves.filter(({ method }) => method !== mayLeave))];
  const [height, room] = [rest[1] - rest[0], (rest[1] - rest[0]) / 4];
  if (height === 0 || all[1] - all[0] <= 2 * height) return { span: all, leaves: false };
  return { span: [Math.max(all[0], rest[0] - room), Math.min(all[1], rest[1] + room)], leaves: true };
}

/** Name of a curve that ends outside of its panel. */
const leavingLabel = (method: Method, value: number): string => `${methodStyles[method].label}: ${formatNumber(value, 2)}`;

/** A panel and what is computed once for it. */
interface ReadPanel extends TimePanel {
  readonly race: Race;
  /** Whether some curves are so much longer than others that only a logarithmic axis shows both. */
  readonly isLong: boolean;
  readonly span: readonly number[];
  readonly leaves: boolean;
}

function panelMarkup({ curves, isLong, race, span, leaves, metric, title }: ReadPanel, { box, isBottom }: Panel): string {
  const seconds = curves.map(lastSecond);
  const [left, right] = [box.x, box.x + box.width];
  const x = isLong ? logAxisFromZero(Math.max(...seconds), Math.min(...seconds) / 10, left, right) : linearAxis([0, ...seconds], left, right, 4, { isTight: true });
  const y = linearAxis(span, box.y + box.height, box.y, 5);
  // A picture in the picture cuts what leaves the panel.
  const framed = (markup: string): string => (leaves ? element("svg", { ...box, viewBox: [box.x, box.y, box.width, box.height].map(round).join(" ") }, markup) : markup);
  const bands = curves.map(({ method, points }) => band(points.map(({ seconds, low, high }) => ({ x: x.at(seconds), low: y.at(low), high: y.at(high) })), methodStyles[method].colour, 0.11));
  const lines = curves.map(({ method, points }, order) => {
    const style = methodStyles[method];
    const places = points.map(({ seconds, value }) => ({ x: x.at(seconds), y: y.at(value) }));
    // Markers of different curves stand at different times, so that none hides another.
    const every = Math.max(2, Math.ceil(places.length / 3));
    const shown = places.filter((_, index) => index > 0 && index < places.length - 1 && (index + order) % every === 0);
    return curve(places, style) + shown.map((place) => marker(style.marker, place, style, 3)).join("");
  });
  const marks = race.catches.map(({ method, level, end, seconds }) => {
    const [at, height, { colour }] = [x.at(seconds), y.at(level), methodStyles[method]];
    return (
      line(at, height, x.at(end), height, { stroke: colour, "stroke-width": 1, "stroke-dasharray": "1 2.5" }) +
      line(at, height, at, box.y + box.height, { stroke: colour, "stroke-width": 1, "stroke-dasharray": "1 2.5" })
    );
  });
  const rings = race.catches.map(({ method, level, seconds }) => element("circle", { cx: x.at(seconds), cy: y.at(level), r: 5, fill: "none", stroke: methodStyles[method].colour, "stroke-width": 1.5 }));
  const zero = line(box.x, y.at(0), box.x + box.width, y.at(0), { stroke: faint, "stroke-width": 1 });
  const ends = curves.map(({ method, points }) => {
    const style = methodStyles[method];
    const { seconds, value } = points.at(-1)!;
    const height = Math.min(box.y + box.height, Math.max(box.y, y.at(value)));
    return { style, label: height === y.at(value) ? style.label : leavingLabel(method, value), x: x.at(seconds), y: height };
  });
  const isShort = textWidth(race.text) <= box.width + leftRoom + endLabelWidth(curves.map(({ method }) => methodStyles[method].label));
  return (
    verticalAxis(box, y, metric, leftRoom) +
    horizontalAxis(box, x, isBottom ? `Training time (s${isLong ? ", logarithmic" : ""})` : undefined) +
    zero +
    framed(bands.join("")) +
    marks.join("") +
    framed(lines.join("")) +
    rings.join("") +
    endLabels(ends, box) +
    panelTitle(box, title, isShort ? race.text : race.short, box.x - leftRoom)
  );
}

/** Gains over training time, a line per method with the band over its seeds, and when ROCM has what others end with. */
export function timeFigure(data: TimeFigureData): string {
  const { title = "Gain over training time", prompts, seeds, intervals, leader = "rocm-kl" } = data;
  const panels = data.panels.map((panel): ReadPanel => {
    const curves = finiteCurves(panel.curves);
    const ends = curves.map(lastSecond);
    return { ...panel, curves, race: raceOf(curves, data), isLong: Math.max(...ends) > 4 * Math.min(...ends), ...spanOf(curves) };
  });
  const sentences = panels.map(({ title: name, metric, curves, race: { text } }) => {
    const ends = curves.map(({ method, points }) => `${methodStyles[method].label} ${formatNumber(points.at(-1)!.value, 3)}`);
    return `${name}, ${metric} at the end: ${ends.join(", ")}${text === "" ? "" : `; ${text}`}`;
  });
  const leaving = panels.flatMap(({ curves, leaves }) => (leaves ? curves.filter(({ method }) => method === mayLeave) : []));
  const labels = [...panels.flatMap(({ curves }) => curves.map(({ method }) => methodStyles[method].label)), ...leaving.map(({ method, points }) => leavingLabel(method, points.at(-1)!.value))];
  return composeFigure({
    title,
    description: `${sentences.join(". ")}.`,
    caption: `Mean gain over the base model on ${prompts} held-out prompts with equal noise, over ${seeds} ${seeds === 1 ? "seed" : "seeds"}; bands are ${intervals}. Training time is iterations × seconds per iteration on one thread of an idle machine. Rings and dotted lines: when ${methodStyles[leader].label} reaches what another method ends with.${leaving.length === 0 ? "" : ` ${methodStyles[mayLeave].label} may leave its panel; the number at its name is where it ends.`}`,
    body: (top) => {
      const columns = panels.length === 1 ? 1 : 2;
      const { panels: places, bottom } = panelGrid({ count: panels.length, columns, top, plotHeight: columns === 1 ? 260 : 176, right: endLabelWidth(labels), left: leftRoom, hasSubtitle: true });
      return { markup: panels.map((panel, index) => panelMarkup(panel, places[index]!)).join("\n"), bottom };
    },
  });
}
