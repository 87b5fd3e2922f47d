import type { Place } from "./marks.ts";
import type { Box } from "./svg.ts";
import { textWidth } from "./text.ts";
import { textSize } from "./theme.ts";

/** Text for a point. */
export interface PointLabel extends Place {
  readonly text: string;
}

/** Whether two rectangles share area. */
export function overlaps(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/** Points at most two pixels apart along a polyline. */
function sample(places: readonly Place[]): Place[] {
  return places.flatMap((from, index) => {
    const to = places[index + 1] ?? from;
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / 2));
    return Array.from({ length: steps }, (_, step) => ({ x: from.x + ((to.x - from.x) * step) / steps, y: from.y + ((to.y - from.y) * step) / steps }));
  });
}

/**
 * Baselines for texts beside their points, inside `box` and a little right of it, off all lines, points and other texts; texts without such a place are left out.
 * @param lines Polylines that no text may cover.
 */
export function placeLabels(points: readonly PointLabel[], lines: readonly (readonly Place[])[], box: Box): PointLabel[] {
  const taken: Box[] = points.map(({ x, y }) => ({ x: x - 5, y: y - 5, width: 10, height: 10 }));
  const inked = lines.flatMap(sample);
  const placed: PointLabel[] = [];
  for (const { text, x, y } of points) {
    const [width, height] = [textWidth(text), textSize * 0.8];
    const beside = [[9, 4.5], [-width - 9, 4.5], [14, 4.5], [-width - 14, 4.5], [-width / 2, -9], [-width / 2, 18], [8, -6], [-width - 8, -6], [8, 16], [-width - 8, 16], [10, -14], [-width - 10, -14], [10, 24], [-width - 10, 24]] as const;
    for (const [dx, dy] of beside) {
      const area = { x: x + dx - 3, y: y + dy - height - 1.5, width: width + 6, height: height + 3.5 };
      const isInside = area.x >= box.x && area.x + area.width <= box.x + box.width + 22 && area.y >= box.y && area.y + area.height <= box.y + box.height;
      const isFree = !taken.some((other) => overlaps(area, other)) && !inked.some((point) => overlaps(area, { ...point, width: 0.01, height: 0.01 }));
      if (!isInside || !isFree) continue;
      taken.push(area);
      placed.push({ text, x: x + dx, y: y + dy });
      break;
    }
  }
  return placed;
}
