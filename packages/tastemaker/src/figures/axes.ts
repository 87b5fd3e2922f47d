import { scaleLinear, scaleSymlog } from "d3-scale";
import { formatNumber } from "../report/html.ts";
import { type Box, line } from "./svg.ts";
import { label, textWidth } from "./text.ts";
import { faint, grid, ink, quiet, textSize } from "./theme.ts";

/** A mark on an axis: where, in pixels, and what it says. */
export interface Tick {
  readonly at: number;
  readonly label: string;
}

/** A number on an axis: to pixels, and its marks. */
export interface Axis {
  readonly at: (value: number) => number;
  readonly ticks: readonly Tick[];
}

/** Room around a plot: left of it for the vertical axis, below for the horizontal one (`ticks` without its title). */
export const axisRoom = { left: 64, ticks: 30, bottom: 44, title: 20, subtitle: 16 } as const;

/**
 * A linear axis from `from` to `to` (pixels) over all `values`, widened to round numbers.
 * @param count About how many ticks.
 */
export function linearAxis(values: readonly number[], from: number, to: number, count: number, options: { readonly isTight?: boolean; readonly format?: (value: number) => string } = {}): Axis {
  const finite = values.filter(Number.isFinite);
  let [low, high] = finite.length === 0 ? [0, 1] : [Math.min(...finite), Math.max(...finite)];
  if (high - low < 1e-9 * Math.max(1, Math.abs(high))) [low, high] = [low - 0.5, high + 0.5];
  const scale = scaleLinear([low, high], [from, to]);
  if (options.isTight !== true) scale.nice(2 * count);
  const format = options.format ?? formatNumber;
  return { at: (value) => scale(value), ticks: scale.ticks(count).map((value) => ({ at: scale(value), label: format(value) })) };
}

/**
 * A tight axis from 0 to `high` that is linear up to about `linear` and logarithmic beyond, with marks at 0 and 1, 3, 10, ….
 * @param linear above 0
 */
export function logAxisFromZero(high: number, linear: number, from: number, to: number): Axis {
  const scale = scaleSymlog([0, high], [from, to]).constant(linear);
  const decades = Array.from({ length: 12 }, (_, decade) => 10 ** (decade - 3)).flatMap((one) => [one, 3 * one]);
  return { at: (value) => scale(value), ticks: [0, ...decades.filter((value) => value >= linear / 2 && value <= high)].map((value) => ({ at: scale(value), label: formatNumber(value) })) };
}

/** Shares as percent. */
export function formatPercent(share: number, digits = 3): string {
  return `${formatNumber(share * 100, digits)} %`;
}

/** Leaves out ticks whose labels would touch the one before. */
export function thinTicks(ticks: readonly Tick[], space = 8): Tick[] {
  const kept: Tick[] = [];
  for (const tick of [...ticks].sort((a, b) => a.at - b.at)) {
    const before = kept.at(-1);
    if (before === undefined || tick.at - before.at >= (textWidth(tick.label) + textWidth(before.label)) / 2 + space) kept.push(tick);
  }
  return kept;
}

/** Grid lines alone, for a panel whose neighbour has the numbers. */
export function gridLines(box: Box, { ticks }: Pick<Axis, "ticks">): string {
  return ticks.map(({ at }) => line(box.x, at, box.x + box.width, at, { stroke: grid, "stroke-width": 1 })).join("");
}

/** Horizontal grid lines with their numbers, and the axis title upright at the left. */
export function verticalAxis(box: Box, { ticks }: Pick<Axis, "ticks">, title: string | undefined, room: number = axisRoom.left): string {
  const numbers = ticks.map(({ at, label: text }) => label(text, box.x - 7, at + textSize * 0.36, { anchor: "end", colour: quiet }));
  return gridLines(box, { ticks }) + numbers.join("") + (title === undefined ? "" : label(title, box.x - room + 12, box.y + box.height / 2, { anchor: "middle", isUpright: true, colour: ink }));
}

/** The line below the plot with ticks, numbers, and the axis title. */
export function horizontalAxis(box: Box, { ticks }: Pick<Axis, "ticks">, title: string | undefined): string {
  const bottom = box.y + box.height;
  const marks = thinTicks(ticks).map(({ at, label: text }) => line(at, bottom, at, bottom + 4, { stroke: faint, "stroke-width": 1 }) + label(text, at, bottom + 17, { anchor: "middle", colour: quiet }));
  return line(box.x, bottom, box.x + box.width, bottom, { stroke: faint, "stroke-width": 1 }) + marks.join("") + (title === undefined ? "" : label(title, box.x + box.width / 2, bottom + 34, { anchor: "middle", colour: ink }));
}

/** A panel's name, and a quieter line under it, above the plot; they start at `left`, the plot's edge unless told. */
export function panelTitle(box: Box, title: string, subtitle?: string, left: number = box.x): string {
  return subtitle === undefined
    ? label(title, left, box.y - 8, { isBold: true, size: 13 })
    : label(title, left, box.y - 8 - axisRoom.subtitle, { isBold: true, size: 13 }) + label(subtitle, left, box.y - 8, { colour: quiet });
}
