import { area, curveLinear, line as d3Line } from "d3-shape";
import { element, line, round } from "./svg.ts";
import { card } from "./theme.ts";

export type MarkerShape = "circle" | "square" | "diamond" | "triangle" | "triangle-down" | "cross" | "star";

/** How a curve looks; dash and marker tell curves apart where there is no colour. */
export interface LineStyle {
  readonly colour: string;
  /** SVG dash array; empty for a solid line. */
  readonly dash: string;
  readonly marker: MarkerShape;
  readonly isHollow: boolean;
  /** Pixels; 1.75 unless told. */
  readonly width?: number;
}

/** A point in pixels with the ends of its interval. */
export interface Place {
  readonly x: number;
  readonly y: number;
}

export interface Span {
  readonly x: number;
  readonly low: number;
  readonly high: number;
}

function polygonAround(x: number, y: number, corners: readonly (readonly [number, number])[]): string {
  return corners.map(([dx, dy]) => `${round(x + dx)},${round(y + dy)}`).join(" ");
}

/** A marker of radius `size` around (x, y). */
export function marker(shape: MarkerShape, { x, y }: Place, { colour, isHollow }: Pick<LineStyle, "colour" | "isHollow">, size = 3.5): string {
  const paint = { fill: isHollow ? card : colour, stroke: isHollow ? colour : card, "stroke-width": isHollow ? 1.5 : 0.75, "stroke-linejoin": "round" };
  const s = size;
  switch (shape) {
    case "circle":
      return element("circle", { cx: x, cy: y, r: s, ...paint });
    case "square":
      return element("rect", { x: x - s * 0.9, y: y - s * 0.9, width: s * 1.8, height: s * 1.8, ...paint });
    case "diamond":
      return element("polygon", { points: polygonAround(x, y, [[0, -s * 1.3], [s * 1.2, 0], [0, s * 1.3], [-s * 1.2, 0]]), ...paint });
    case "triangle":
      return element("polygon", { points: polygonAround(x, y, [[0, -s * 1.2], [s * 1.15, s * 0.9], [-s * 1.15, s * 0.9]]), ...paint });
    case "triangle-down":
      return element("polygon", { points: polygonAround(x, y, [[0, s * 1.2], [s * 1.15, -s * 0.9], [-s * 1.15, -s * 0.9]]), ...paint });
    case "star": {
      const corners = Array.from({ length: 10 }, (_, index) => {
        const [angle, radius] = [(index * Math.PI) / 5, index % 2 === 0 ? s * 1.6 : s * 0.7];
        return [Math.sin(angle) * radius, -Math.cos(angle) * radius] as const;
      });
      return element("polygon", { points: polygonAround(x, y, corners), ...paint });
    }
    case "cross": {
      const path = `M${round(x - s)},${round(y - s)}L${round(x + s)},${round(y + s)}M${round(x - s)},${round(y + s)}L${round(x + s)},${round(y - s)}`;
      return element("path", { d: path, fill: "none", stroke: colour, "stroke-width": 1.75, "stroke-linecap": "round" });
    }
  }
}

/** A polyline through at least two places; empty otherwise. */
export function curve(places: readonly Place[], { colour, dash, width = 1.75 }: Pick<LineStyle, "colour" | "dash" | "width">, opacity?: number): string {
  if (places.length < 2) return "";
  const path = d3Line<Place>((place) => place.x, (place) => place.y).curve(curveLinear).digits(2)(places as Place[]);
  return element("path", { d: path ?? "", fill: "none", stroke: colour, "stroke-width": width, "stroke-dasharray": dash === "" ? undefined : dash, "stroke-linejoin": "round", "stroke-linecap": dash === "" ? "round" : "butt", "stroke-opacity": opacity });
}

/** The band between the ends of intervals. */
export function band(spans: readonly Span[], colour: string, opacity = 0.13): string {
  if (spans.length < 2) return "";
  const path = area<Span>((span) => span.x, (span) => span.low, (span) => span.high).digits(2)(spans as Span[]);
  return element("path", { d: path ?? "", fill: colour, "fill-opacity": opacity, stroke: "none" });
}

/** A vertical interval with short ends. */
export function errorBar({ x, low, high }: Span, colour: string, cap = 3): string {
  const paint = { stroke: colour, "stroke-width": 1.25 };
  return line(x, low, x, high, paint) + line(x - cap, low, x + cap, low, paint) + line(x - cap, high, x + cap, high, paint);
}

/** A horizontal interval without ends. */
export function flatErrorBar(y: number, left: number, right: number, colour: string, cap = 3): string {
  const paint = { stroke: colour, "stroke-width": 1.25 };
  return line(left, y, right, y, paint) + (cap === 0 ? "" : line(left, y - cap, left, y + cap, paint) + line(right, y - cap, right, y + cap, paint));
}

/** A piece of curve with its marker, 22 pixels wide, for legends; starts at (x, y). */
export function lineKey(x: number, y: number, style: LineStyle): string {
  return curve([{ x, y }, { x: x + 22, y }], style) + marker(style.marker, { x: x + 11, y }, style);
}
