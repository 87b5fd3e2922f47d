import { curve, lineKey, type LineStyle } from "./marks.ts";
import { spreadLabels } from "./spread-labels.ts";
import type { Box } from "./svg.ts";
import { label, textWidth } from "./text.ts";
import { faint, textSize } from "./theme.ts";

/** Where a curve ends, and what it is called. */
export interface CurveEnd {
  readonly style: LineStyle;
  readonly label: string;
  readonly x: number;
  readonly y: number;
}

const [leader, key, gap] = [11, 22, 4];

/** Pixels that labels need right of a plot. */
export function endLabelWidth(labels: readonly string[]): number {
  return leader + key + gap + Math.max(0, ...labels.map((text) => textWidth(text))) + 2;
}

/** Names of curves right of the plot, as near to their ends as they fit, with thin lines from the ends and a piece of each curve. */
export function endLabels(ends: readonly CurveEnd[], box: Box): string {
  const right = box.x + box.width;
  // Labels may stand a little above and below the plot, but not on titles.
  const heights = spreadLabels(ends.map(({ y }) => y), textSize + 2.5, box.y + 5, box.y + box.height + 12);
  return ends
    .map((end, index) => {
      const y = heights[index]!;
      const path = [{ x: end.x + 2, y: end.y }, { x: Math.max(end.x, right) + 3, y: end.y }, { x: right + leader - 2, y }];
      return curve(path, { colour: faint, dash: "", width: 0.75 }) + lineKey(right + leader, y, end.style) + label(end.label, right + leader + key + gap, y + textSize * 0.36);
    })
    .join("");
}
