import { escapeHtml } from "../report/html.ts";
import type { PairStatistics } from "./pair-statistics.ts";

const size = { width: 360, height: 360, left: 56, right: 14, top: 44, bottom: 46 } as const;

/** Predicted probability against observed share as an SVG file: a dot per bin, its area by the number of pairs, a bar of two standard errors; the diagonal is perfect. */
export function calibrationChart(name: string, { calibration, pairs, accuracy, expectedCalibrationError }: PairStatistics): string {
  const { width, height, left, right, top, bottom } = size;
  const toX = (p: number): number => left + p * (width - left - right);
  const toY = (p: number): number => height - bottom - p * (height - top - bottom);
  const at = (x: number, y: number): string => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(
    (tick) =>
      `<line x1="${toX(0)}" x2="${toX(1)}" y1="${toY(tick).toFixed(1)}" y2="${toY(tick).toFixed(1)}" stroke="#ddd"/><text x="${left - 8}" y="${toY(tick).toFixed(1)}" dy="0.32em" text-anchor="end">${tick}</text><text x="${toX(tick).toFixed(1)}" y="${height - bottom + 18}" text-anchor="middle">${tick}</text>`,
  );
  const filled = calibration.flatMap(({ n, predicted, observed }) => (predicted === null || observed === null ? [] : [{ n, predicted, observed }]));
  const dots = filled.map(({ n, predicted, observed }) => {
    const error = Math.sqrt(Math.max(observed * (1 - observed), 1 / (4 * n)) / n);
    const [low, high] = [Math.max(0, observed - 2 * error), Math.min(1, observed + 2 * error)];
    const x = toX(predicted).toFixed(1);
    const radius = (2 + 8 * Math.sqrt(n / pairs)).toFixed(1);
    return `<line x1="${x}" x2="${x}" y1="${toY(low).toFixed(1)}" y2="${toY(high).toFixed(1)}" stroke="#2563eb" stroke-opacity=".5"/><circle cx="${x}" cy="${toY(observed).toFixed(1)}" r="${radius}" fill="#2563eb" fill-opacity=".75"><title>${n} pairs: predicted ${predicted.toFixed(3)}, observed ${observed.toFixed(3)}</title></circle>`;
  });
  const about = `${pairs} pairs${accuracy === null ? "" : `, accuracy ${(100 * accuracy.share).toFixed(1)} %`}, calibration error ${expectedCalibrationError.toFixed(3)}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="11" fill="#333">
<rect width="${width}" height="${height}" fill="#fff"/>
<text x="${left}" y="18" font-size="13" font-weight="600">${escapeHtml(name)}: predicted and observed choices</text>
<text x="${left}" y="34">${escapeHtml(about)}</text>
${ticks.join("\n")}
<path d="M${at(0, 0)} L${at(1, 1)}" stroke="#999" stroke-dasharray="4 4"/>
${dots.join("\n")}
<text x="${toX(0.5)}" y="${height - 10}" text-anchor="middle">predicted probability that the first is preferred</text>
<text transform="translate(14 ${toY(0.5)}) rotate(-90)" text-anchor="middle">observed share</text>
</svg>
`;
}
