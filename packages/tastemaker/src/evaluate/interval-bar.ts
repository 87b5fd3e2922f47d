import type { Estimate } from "./cluster-statistics.ts";

/** How a bar is coloured: `good`, `bad`, or not at all. */
export type BarTone = "good" | "bad" | "soft";

const size = { width: 168, height: 20, margin: 6 } as const;

/**
 * An interval drawn as a bar with a dot at its mean, as inline SVG; `reach` is the value at the drawing's edge. Empty text where there is no interval.
 *
 * @param isFlipped Draws larger values further left, so that right always means better.
 * @param fromZero Puts zero at the left edge instead of the middle.
 */
export function intervalBar({ mean, low, high }: Estimate, reach: number, tone: BarTone, { isFlipped = false, fromZero = false }: { readonly isFlipped?: boolean; readonly fromZero?: boolean } = {}): string {
  if (low === null || high === null || !(reach > 0)) return "";
  const { width, height, margin } = size;
  const zero = fromZero ? margin : width / 2;
  const perUnit = (width - margin - zero) / reach;
  const at = (value: number): string => (zero + Math.max(-1, Math.min(1, (isFlipped ? -value : value) / reach)) * reach * perUnit).toFixed(1);
  const middle = height / 2;
  const [left, right] = [at(low), at(high)].toSorted((a, b) => Number(a) - Number(b));
  return `<svg class="interval ${tone}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" aria-hidden="true"><line class="track" x1="${margin}" x2="${width - margin}" y1="${middle}" y2="${middle}"/><line class="zero" x1="${zero}" x2="${zero}" y1="2" y2="${height - 2}"/><line class="reach" x1="${left}" x2="${right}" y1="${middle}" y2="${middle}"/><circle cx="${at(mean)}" cy="${middle}" r="4"/></svg>`;
}
