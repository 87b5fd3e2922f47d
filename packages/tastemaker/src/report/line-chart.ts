import { escapeHtml, formatNumber } from "./html.ts";
import { meanOf, standardErrorOf } from "./paired-statistics.ts";

/** A point of a curve; `error` is half the height of its band or bar. */
export interface ChartPoint {
  readonly x: number;
  readonly y: number;
  readonly error?: number;
}

export interface ChartSeries {
  readonly name: string;
  readonly points: readonly ChartPoint[];
  /** `band`: smoothed line with a band around it; `bars`: points with error bars, joined. */
  readonly kind: "band" | "bars";
  /** Index of the colour, 1 to 4. */
  readonly colour: number;
}

/** A vertical line at an iteration with a word beside it. */
export interface ChartMark {
  readonly x: number;
  readonly label: string;
  readonly kind: "alarm" | "best";
}

export interface ChartOptions {
  readonly title: string;
  /** One sentence under the title. */
  readonly caption: string;
  readonly series: readonly ChartSeries[];
  /** Draw the vertical axis from zero. */
  readonly fromZero?: boolean;
  readonly marks?: readonly ChartMark[];
}

const size = { width: 520, height: 250, left: 56, right: 12, top: 10, bottom: 30 } as const;

/** Round numbers that divide a range into about `count` parts. */
export function niceTicks(low: number, high: number, count: number): number[] {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return [low];
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999) ?? 10);
  const ticks: number[] = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index++) ticks.push(Number((index * step).toPrecision(12)));
  return ticks;
}

function windowMean(x: number, part: readonly ChartPoint[]): ChartPoint {
  return { x, y: meanOf(part.map(({ y }) => y)), error: standardErrorOf(part.map(({ y }) => y)) };
}

/**
 * Means over overlapping windows of a noisy curve with the standard error of each mean, about `count` points; short curves stay as they
 * are. Entries that are no finite number are left out.
 */
export function smooth(points: readonly ChartPoint[], count = 40): ChartPoint[] {
  const finite = points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
  const reach = Math.ceil(finite.length / count);
  if (reach <= 1) return finite;
  const result: ChartPoint[] = [];
  for (let centre = 0; centre < finite.length; centre += reach) {
    result.push(windowMean(finite[centre]!.x, finite.slice(Math.max(0, centre - reach), centre + reach + 1)));
  }
  const last = finite.at(-1)!;
  if (result.at(-1)!.x < last.x) result.push(windowMean(last.x, finite.slice(-reach - 1)));
  return result;
}

function seriesMarkup(series: ChartSeries, toX: (x: number) => number, toY: (y: number) => number): string {
  const at = ({ x, y }: { x: number; y: number }): string => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`;
  const { points, kind, colour } = series;
  const parts: string[] = [];
  if (kind === "band" && points.some(({ error }) => error !== undefined)) {
    const upper = points.map(({ x, y, error = 0 }) => at({ x, y: y + error }));
    const lower = points.map(({ x, y, error = 0 }) => at({ x, y: y - error })).reverse();
    parts.push(`<polygon class="band c${colour}" points="${[...upper, ...lower].join(" ")}"/>`);
  }
  parts.push(`<polyline class="line c${colour}" points="${points.map(at).join(" ")}"/>`);
  if (kind === "bars" || points.length === 1) {
    for (const point of points) {
      const { x, y, error = 0 } = point;
      if (error > 0) parts.push(`<line class="bar c${colour}" x1="${toX(x).toFixed(1)}" x2="${toX(x).toFixed(1)}" y1="${toY(y - error).toFixed(1)}" y2="${toY(y + error).toFixed(1)}"/>`);
      parts.push(`<circle class="dot c${colour}" cx="${toX(x).toFixed(1)}" cy="${toY(y).toFixed(1)}" r="3"><title>${escapeHtml(series.name)} at ${x}: ${formatNumber(y)}${error > 0 ? ` ± ${formatNumber(error, 2)}` : ""}</title></circle>`);
    }
  }
  return parts.join("");
}

/** Marks as dashed lines; alarms are labelled at the top, others at the bottom, left of the line where there is no room to the right. */
function markMarkup(marks: readonly ChartMark[], toX: (x: number) => number): string {
  const { width, height, right, top, bottom } = size;
  return marks
    .map(({ x, label, kind }) => {
      const at = toX(x);
      const isLeft = at + 6.2 * label.length > width - right;
      const place = `x="${(isLeft ? at - 4 : at + 4).toFixed(1)}" y="${kind === "alarm" ? top + 11 : height - bottom - 6}"${isLeft ? ' text-anchor="end"' : ""}`;
      return `<line class="mark ${kind}" x1="${at.toFixed(1)}" x2="${at.toFixed(1)}" y1="${top}" y2="${height - bottom}"/><text class="mark ${kind}" ${place}>${escapeHtml(label)}</text>`;
    })
    .join("");
}

/** A line chart over iterations as a `<figure>` with inline SVG; colours come from the page's style. Empty text without any point. */
export function lineChart(options: ChartOptions): string {
  const series = options.series.map((one) => ({ ...one, points: one.points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y)) })).filter(({ points }) => points.length > 0);
  const points = series.flatMap((one) => one.points);
  if (points.length === 0) return "";
  const { width, height, left, right, top, bottom } = size;
  const xLow = Math.min(0, ...points.map(({ x }) => x));
  const xHigh = Math.max(xLow + 1, ...points.map(({ x }) => x));
  let yLow = Math.min(...points.map(({ y, error = 0 }) => y - error));
  let yHigh = Math.max(...points.map(({ y, error = 0 }) => y + error));
  if (options.fromZero === true) yLow = Math.min(0, yLow);
  if (yHigh - yLow < 1e-12 * Math.max(1, Math.abs(yHigh))) [yLow, yHigh] = options.fromZero === true && yHigh > 0 ? [0, yHigh * 1.2] : [yLow - 0.5, yHigh + 0.5];
  const margin = (yHigh - yLow) * 0.06;
  yHigh += margin;
  if (options.fromZero !== true || yLow < 0) yLow -= margin;
  const toX = (x: number): number => left + ((x - xLow) / (xHigh - xLow)) * (width - left - right);
  const toY = (y: number): number => height - bottom - ((y - yLow) / (yHigh - yLow)) * (height - top - bottom);
  const grid = niceTicks(yLow, yHigh, 4).map((tick) => {
    const y = toY(tick).toFixed(1);
    return `<line class="grid" x1="${left}" x2="${width - right}" y1="${y}" y2="${y}"/><text x="${left - 8}" y="${y}" dy="0.32em" text-anchor="end">${formatNumber(tick)}</text>`;
  });
  const axis = niceTicks(xLow, xHigh, 5).map((tick) => `<text x="${toX(tick).toFixed(1)}" y="${height - bottom + 18}" text-anchor="middle">${formatNumber(tick)}</text>`);
  const legend = series.length > 1 ? `<p class="legend">${series.map(({ name, colour }) => `<span><i class="c${colour}"></i>${escapeHtml(name)}</span>`).join("")}</p>` : "";
  const label = `${options.title}: ${series.map(({ name, points: own }) => `${name} from ${formatNumber(own[0]!.y)} to ${formatNumber(own.at(-1)!.y)}`).join("; ")}`;
  return `<figure class="chart"><figcaption><b>${escapeHtml(options.title)}</b><small>${escapeHtml(options.caption)}</small></figcaption>
<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(label)}">${grid.join("")}<line class="axis" x1="${left}" x2="${width - right}" y1="${height - bottom}" y2="${height - bottom}"/>${axis.join("")}${markMarkup((options.marks ?? []).filter(({ x }) => x >= xLow && x <= xHigh), toX)}${series.map((one) => seriesMarkup(one, toX, toY)).join("")}</svg>${legend}</figure>`;
}
