import { printable } from "../cli/output.ts";
import { formatNumber, formatSignedTo, formatTo } from "../report/html.ts";
import type { Estimate, WinRate } from "./cluster-statistics.ts";
import type { EvaluationFile, RecordedVariant } from "./record.ts";
import type { Verdict } from "./summary.ts";

const marks: Readonly<Record<Verdict, string>> = { better: "✓", worse: "✗", unclear: "·" };

/** `0.712 ± 0.011` */
export function withError(mean: number, error: number | null): string {
  return error === null ? formatNumber(mean) : `${formatTo(mean, error)} ± ${formatTo(error, error)}`;
}

/** `+0.133` with as many digits as its error justifies. */
export function signed({ mean, standardError }: Estimate): string {
  return standardError === null ? `${mean > 0 ? "+" : ""}${formatNumber(mean)}` : formatSignedTo(mean, standardError);
}

/** `+0.115 … +0.151`, `–` where there is none. */
export function interval({ low, high, standardError }: Estimate, sign = true): string {
  if (low === null || high === null) return "–";
  const format = sign ? formatSignedTo : formatTo;
  return `${format(low, standardError ?? 0)} … ${format(high, standardError ?? 0)}`;
}

/** A share as `92 %`. */
export function percent(share: number): string {
  return `${formatNumber(100 * share, 3)} %`;
}

/** `92 % (81 … 97)` */
export function winText({ rate, low, high }: WinRate): string {
  return low === null || high === null ? percent(rate) : `${percent(rate)} (${(100 * low).toFixed(0)} … ${(100 * high).toFixed(0)})`;
}

/** Rows as aligned columns; the first column left, the others right. */
function align(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => [...row[column]!].length)));
  return rows.map((row) =>
    row
      .map((text, column) => {
        const gap = " ".repeat(widths[column]! - [...text].length);
        return column === 0 ? text + gap : gap + text;
      })
      .join("   ")
      .trimEnd(),
  );
}

function rowsOf(file: EvaluationFile, variant: RecordedVariant): string[][] {
  const [base] = file.variants;
  const rows = file.metrics.map(({ name, higherIsBetter }) => {
    const before = base!.summary.metrics[name]!;
    const { mean, standardError, difference, wins, verdict } = variant.summary.metrics[name]!;
    const mark = variant.run?.trained.includes(name) === true ? " (trained on)" : "";
    return [`${printable(name)} ${higherIsBetter ? "↑" : "↓"}${mark}`, withError(before.mean, before.standardError), withError(mean, standardError), signed(difference!), interval(difference!), marks[verdict!], winText(wins!)];
  });
  const { diversity, nearness } = variant.summary;
  if (diversity !== null) {
    const before = base!.summary.diversity!;
    const difference = diversity.difference!;
    rows.push(["diversity", withError(before.mean, before.standardError), withError(diversity.mean, diversity.standardError), signed(difference), interval(difference), "", diversity.ratio === null ? "" : `${percent(diversity.ratio)} of base`]);
  }
  if (nearness !== null) {
    const { distance, shareOfDiversity, pixels } = nearness;
    if (distance !== null) rows.push(["distance to base", "0", withError(distance.mean, distance.standardError), "", interval(distance, false), "", shareOfDiversity === null ? "" : `${percent(shareOfDiversity)} of base's diversity`]);
    rows.push(["pixels from base", "0", withError(pixels.mean, pixels.standardError), "", interval(pixels, false), "", "levels of 255"]);
  }
  return rows;
}

/** The result as lines of text: one table per adapter or model, or the base's means alone. */
export function evaluationTable(file: EvaluationFile): string[] {
  const [base, ...others] = file.variants;
  const { texts } = file.prompts;
  const { seeds } = file.settings;
  const lines = [`${texts.length} prompts × ${seeds} seed${seeds === 1 ? "" : "s"} = ${texts.length * seeds} pictures each, on equal noise; 95 % intervals between prompts`];
  if (others.length === 0) {
    const rows = file.metrics.map(({ name, higherIsBetter }) => [`${printable(name)} ${higherIsBetter ? "↑" : "↓"}`, withError(base!.summary.metrics[name]!.mean, base!.summary.metrics[name]!.standardError)]);
    const { diversity } = base!.summary;
    if (diversity !== null) rows.push(["diversity", withError(diversity.mean, diversity.standardError)]);
    return [...lines, "", ...align([["metric", "mean"], ...rows])];
  }
  for (const variant of others) {
    lines.push("", printable(variant.label), ...align([["metric", "base", "this", "difference", "95 % interval", "", "better in"], ...rowsOf(file, variant)]).map((line) => `  ${line}`));
  }
  return [...lines, "", "✓ clearly better, ✗ clearly worse, · not clear (the interval holds 0)"];
}
