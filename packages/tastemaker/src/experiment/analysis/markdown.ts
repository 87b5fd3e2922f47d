import type { Estimate } from "../../evaluate/cluster-statistics.ts";
import { formatNumber, formatSignedTo, formatTo } from "../../report/html.ts";
import type { Method } from "../run-record.ts";

/** Names for people. */
export const methodTitles: Readonly<Record<Method | "emoji" | "emoji-teacher", string>> = {
  "rocm-none": "ROCM, no regularisation",
  "rocm-js": "ROCM, Jensen-Shannon",
  "rocm-kl": "ROCM, KL",
  "rocm-hellinger": "ROCM, Hellinger",
  "rocm-fisher": "ROCM, Fisher",
  rlcm: "RLCM",
  ddpo: "DDPO",
  d3po: "D3PO",
  dpok: "DPOK",
  emoji: "consistency model (base)",
  "emoji-teacher": "diffusion model (base)",
};

/** Text inside a cell: bars and line ends would end it. */
const inCell = (text: string): string => text.replaceAll("|", "\\|").replace(/\s*\n\s*/g, " ");

/** A Markdown table whose source is aligned too; the first `left` columns are left-aligned, the others right. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[], left = 1): string {
  const cells = [head, ...rows].map((row) => row.map(inCell));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => [...(row[column] ?? "")].length)));
  const line = (row: readonly string[]): string =>
    `| ${widths
      .map((width, column) => {
        const gap = " ".repeat(width - [...(row[column] ?? "")].length);
        return column < left ? (row[column] ?? "") + gap : gap + (row[column] ?? "");
      })
      .join(" | ")} |`;
  const rule = `|${widths.map((width, column) => (column < left ? `${"-".repeat(width + 2)}` : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  return `${[line(cells[0]!), rule, ...cells.slice(1).map(line)].join("\n")}\n`;
}

/** Half the width of the 95 % interval; null without one. */
function halfWidth({ low, high }: Estimate): number | null {
  return low === null || high === null ? null : (high - low) / 2;
}

/** `0.712 ± 0.011`: mean and half its 95 % interval. */
export function plusMinus(estimate: Estimate): string {
  const half = halfWidth(estimate);
  return half === null || !(half > 0) ? formatNumber(estimate.mean) : `${formatTo(estimate.mean, half)} ± ${formatTo(half, half)}`;
}

/** `+0.133 ± 0.020` */
export function signedPlusMinus(estimate: Estimate): string {
  const half = halfWidth(estimate);
  if (half === null || !(half > 0)) return `${estimate.mean > 0 ? "+" : ""}${formatNumber(estimate.mean)}`;
  return `${formatSignedTo(estimate.mean, half)} ± ${formatTo(half, half)}`;
}

/** `0.71 (0.65 … 0.77)`; `–` for nothing. */
export function withInterval(estimate: Estimate | null): string {
  if (estimate === null) return "–";
  const { mean, low, high } = estimate;
  if (low === null || high === null) return formatNumber(mean, 3);
  const width = Number.isFinite(high - low) ? high - low : 0;
  return `${formatTo(mean, width)} (${Number.isFinite(low) ? formatTo(low, width) : "−∞"} … ${Number.isFinite(high) ? formatTo(high, width) : "∞"})`;
}

/** `71 % (65 … 77)` */
export function shareText(estimate: Estimate | null): string {
  if (estimate === null) return "–";
  const { mean, low, high } = estimate;
  const percent = (value: number): string => (100 * value).toFixed(1).replace("-", "−");
  return low === null || high === null ? `${percent(mean)} %` : `${percent(mean)} % (${percent(low)} … ${percent(high)})`;
}

export const bold = (text: string, isBold: boolean): string => (isBold ? `**${text}**` : text);

/** A beta as a person writes it. */
export const betaText = (beta: number | "auto" | null): string => (beta === null ? "–" : beta === "auto" ? "auto" : formatNumber(beta, 3));
