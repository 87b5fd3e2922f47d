import { escapeHtml, formatNumber, formatTo } from "../report/html.ts";
import type { Estimate, WinRate } from "./cluster-statistics.ts";
import { type BarTone, intervalBar } from "./interval-bar.ts";
import type { EvaluationFile, RecordedVariant } from "./record.ts";
import type { Verdict } from "./summary.ts";
import { interval, percent, signed } from "./table.ts";

const tones: Readonly<Record<Verdict, BarTone>> = { better: "good", worse: "bad", unclear: "soft" };
const words: Readonly<Record<Verdict, string>> = { better: "✓ clearly better", worse: "✗ clearly worse", unclear: "not clear" };

function mean(value: number, error: number | null): string {
  return error === null ? formatNumber(value) : `${formatTo(value, error)} <span class="pm">± ${formatTo(error, error)}</span>`;
}

/** Largest distance of an interval from zero. */
function reachOf(estimates: readonly (Estimate | null)[]): number {
  return Math.max(0, ...estimates.flatMap((estimate) => (estimate === null ? [] : [Math.abs(estimate.low ?? 0), Math.abs(estimate.high ?? 0)])));
}

/** The difference over its interval, its bar, and what it means. */
function differenceCells(estimate: Estimate, bar: string, tone: BarTone, word: string): string {
  return `<td class="${tone === "soft" ? "" : tone}">${signed(estimate)}<br><small>${interval(estimate)}</small></td><td class="bar-cell">${bar}<small class="${tone === "soft" ? "" : tone}">${word}</small></td>`;
}

function share({ rate, low, high }: WinRate): string {
  return `${percent(rate)}${low === null || high === null ? "" : `<br><small>${(100 * low).toFixed(0)} … ${(100 * high).toFixed(0)} %</small>`}`;
}

/** Rows of one quantity: the base, then every other variant. */
function group(head: string, baseCell: string, others: readonly RecordedVariant[], cells: (variant: RecordedVariant) => string): string {
  const rows = others.map((variant, index) => `<tr>${index === 0 ? `<th scope="rowgroup" rowspan="${others.length}">${head}</th><td rowspan="${others.length}">${baseCell}</td>` : ""}<td class="name">${escapeHtml(variant.label)}</td>${cells(variant)}</tr>`);
  return `<tbody>${rows.join("")}</tbody>`;
}

function metricGroups({ metrics, variants }: EvaluationFile): string[] {
  const [base, ...others] = variants;
  return metrics.map(({ name, unit, higherIsBetter }) => {
    const reach = reachOf(others.map(({ summary }) => summary.metrics[name]!.difference));
    const before = base!.summary.metrics[name]!;
    const head = `${escapeHtml(name)} <span class="arrow" title="${higherIsBetter ? "higher" : "lower"} is better">${higherIsBetter ? "↑" : "↓"}</span><br><small>${escapeHtml(unit)}</small>`;
    return group(head, mean(before.mean, before.standardError), others, ({ summary, run }) => {
      const { mean: value, standardError, difference, wins, verdict } = summary.metrics[name]!;
      const tone = tones[verdict!];
      const tag = run?.trained.includes(name) === true ? '<span class="tag">trained on</span>' : "";
      return `<td>${mean(value, standardError)}${tag === "" ? "" : `<br>${tag}`}</td>${differenceCells(difference!, intervalBar(difference!, reach, tone, { isFlipped: !higherIsBetter }), tone, words[verdict!])}<td>${share(wins!)}</td>`;
    });
  });
}

function diversityGroup({ variants }: EvaluationFile): string {
  const [base, ...others] = variants;
  const before = base!.summary.diversity;
  if (before === null) return "";
  const reach = reachOf(others.map(({ summary }) => summary.diversity?.difference ?? null));
  return group("diversity <span class=\"arrow\" title=\"higher is more varied\">↑</span><br><small>mean 1 − cosine between a prompt's pictures, in CLIP space</small>", mean(before.mean, before.standardError), others, ({ summary }) => {
    const { mean: value, standardError, difference, ratio } = summary.diversity!;
    const { low, high } = difference!;
    const tone: BarTone = high !== null && high < 0 ? "bad" : low !== null && low > 0 ? "good" : "soft";
    const word = tone === "bad" ? "✗ clearly less varied" : tone === "good" ? "✓ clearly more varied" : "not clear";
    return `<td>${mean(value, standardError)}</td>${differenceCells(difference!, intervalBar(difference!, reach, tone), tone, word)}<td>${ratio === null ? "" : `<small>${percent(ratio)} of base</small>`}</td>`;
  });
}

function nearnessGroups({ variants }: EvaluationFile): string {
  const [, ...others] = variants;
  const of = (head: string, find: (variant: RecordedVariant) => Estimate | null, remark: (variant: RecordedVariant) => string): string => {
    if (others.some((variant) => find(variant) === null)) return "";
    const reach = reachOf(others.map(find));
    return group(head, "0", others, (variant) => {
      const estimate = find(variant)!;
      return `<td>${mean(estimate.mean, estimate.standardError)}</td><td><small>${interval(estimate, false)}</small></td><td class="bar-cell">${intervalBar(estimate, reach, "soft", { fromZero: true })}</td><td><small>${remark(variant)}</small></td>`;
    });
  };
  return (
    of("distance to base<br><small>mean 1 − cosine to the base's picture of the same noise, in CLIP space: what a gain costs</small>", ({ summary }) => summary.nearness?.distance ?? null, ({ summary }) => {
      const part = summary.nearness?.shareOfDiversity ?? null;
      return part === null ? "" : `${percent(part)} of<br>base's diversity`;
    }) + of("pixels from base<br><small>mean absolute difference to the base's picture of the same noise, in levels of 255</small>", ({ summary }) => summary.nearness?.pixels ?? null, () => "")
  );
}

function baseTable({ metrics, variants }: EvaluationFile): string {
  const { summary } = variants[0]!;
  const rows = metrics.map(({ name, unit, higherIsBetter }) => `<tr><th scope="row">${escapeHtml(name)} <span class="arrow">${higherIsBetter ? "↑" : "↓"}</span><br><small>${escapeHtml(unit)}</small></th><td>${summary.metrics[name]!.n}</td><td>${mean(summary.metrics[name]!.mean, summary.metrics[name]!.standardError)}</td></tr>`);
  const { diversity } = summary;
  if (diversity !== null) rows.push(`<tr><th scope="row">diversity<br><small>mean 1 − cosine between a prompt's pictures, in CLIP space</small></th><td></td><td>${mean(diversity.mean, diversity.standardError)}</td></tr>`);
  return `<div class="table"><table><thead><tr><th scope="col">metric</th><th scope="col">pictures</th><th scope="col">mean</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>`;
}

/** The comparison as a table with intervals drawn as bars. */
export function tableSection(file: EvaluationFile): string {
  const { prompts, settings, variants } = file;
  const count = `${prompts.texts.length} prompts × ${settings.seeds} seed${settings.seeds === 1 ? "" : "s"}`;
  if (variants.length === 1) return `<section><h2>Scores</h2><p class="soft">Mean ± standard error between prompts; ${count}.</p>${baseTable(file)}</section>`;
  return `<section><h2>Comparison</h2><p class="soft">${count}, the same noise for every column. Differences are taken picture by picture; their 95 % intervals (bootstrap between prompts) are drawn as bars: right of the line is better. A metric that was trained on can rise without better pictures: look at the others, and at what it cost below.</p>
<div class="table"><table class="comparison"><thead><tr><th scope="col">metric</th><th scope="col">base</th><th scope="col" class="name">against it</th><th scope="col">mean</th><th scope="col">difference<br><small>95 % interval</small></th><th scope="col" class="name">worse · better</th><th scope="col">better in<br><small>95 % interval</small></th></tr></thead>${metricGroups(file).join("")}${diversityGroup(file)}${nearnessGroups(file)}</table></div></section>`;
}
