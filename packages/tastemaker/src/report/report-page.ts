import { reportCharts } from "./report-charts.ts";
import { escapeHtml, formatNumber, formatSignedTo, formatTo } from "./html.ts";
import { pageScript, pageStyle } from "./page-style.ts";
import { comparePairs, type PairedComparison } from "./paired-statistics.ts";
import type { EvaluationRecord, MetricsLine, PairedMetric, ReportData } from "./report-data.ts";
import { describeFinding, watchSummary } from "./watch-summary.ts";

/** Pictures below this width are drawn with hard pixels instead of a blur. */
const smallPictureWidth = 200;

function pictureTag(uri: string | undefined, label: string): string {
  if (uri === undefined) return "";
  // The width is a big-endian integer at byte 16 of every PNG.
  const width = Buffer.from(uri.slice(uri.indexOf(",") + 1, uri.indexOf(",") + 33), "base64").readUInt32BE(16);
  return `<img ${width < smallPictureWidth ? 'class="small" ' : ""}src="${uri}" alt="${escapeHtml(label)}" loading="lazy">`;
}

function directionOf(metric: PairedMetric, difference: number): "good" | "bad" | "" {
  if (difference === 0 || !Number.isFinite(difference)) return "";
  return difference > 0 === (metric.higherIsBetter ?? true) ? "good" : "bad";
}

/** Counts as a change only when the interval leaves out zero. */
function isClear({ low, high }: PairedComparison): boolean {
  return low > 0 || high < 0;
}

function factsMarkup(evaluation: EvaluationRecord): string {
  const items = Object.entries(evaluation.metrics).slice(0, 4).map(([name, metric]) => {
    const pairs = comparePairs(metric.base, metric.tuned);
    const colour = isClear(pairs) ? directionOf(metric, pairs.difference) : "";
    const errors = pairs.difference / pairs.differenceError;
    const clear = Number.isNaN(errors) ? "no error estimate" : Math.abs(errors) >= 100 ? "over 100 standard errors" : `${formatNumber(Math.abs(errors), 2)} standard errors`;
    return `<li><span>${escapeHtml(name)}</span><b class="${colour}">${formatSignedTo(pairs.difference, pairs.differenceError)}</b><small>${formatTo(pairs.base, pairs.baseError)} → ${formatTo(pairs.tuned, pairs.tunedError)}${metric.unit === undefined ? "" : ` ${escapeHtml(metric.unit)}`}<br>${clear}${isClear(pairs) ? "" : ", not a clear change"}</small></li>`;
  });
  return `<ul class="facts">${items.join("")}</ul>`;
}

/** A banner where the watch has something to say; empty text otherwise. */
function watchMarkup(metrics: readonly MetricsLine[], name: string): string {
  const { newest, firstFired, best, isBestClean } = watchSummary(metrics);
  if (newest === undefined || (firstFired === undefined && newest.watch.state === "quiet")) return "";
  const shown = newest.watch.state === "quiet" ? firstFired! : newest;
  const findings = `<ul>${shown.watch.findings.map((finding) => `<li>${escapeHtml(describeFinding(finding))}</li>`).join("")}</ul>`;
  if (firstFired === undefined) return `<div class="notice"><p><b>Possible over-optimisation</b> at iteration ${newest.iteration}, the last evaluation; it takes another one to be sure.</p>${findings}</div>`;
  const gone = newest.watch.state === "fired" ? "" : ` It is no longer seen at iteration ${newest.iteration}.`;
  const seenToo = isBestClean ? "" : " It shows the fall too, as every evaluated checkpoint does.";
  const advice = best === undefined ? "" : `<p>Best checkpoint: iteration ${best}.${seenToo} <code>tastemaker export ${escapeHtml(name)} --checkpoint best</code> writes its adapter; the comparison below is of the last one.</p>`;
  return `<div class="notice alarm" role="alert"><p><b>Over-optimisation</b> since iteration ${firstFired.iteration}: the trained reward rises while what is not trained on gets worse.${gone} At iteration ${shown.iteration}:</p>${findings}${advice}</div>`;
}

function galleryMarkup(data: ReportData, evaluation: EvaluationRecord): string {
  if (evaluation.images.length === 0) return "";
  const indices = new Map(evaluation.prompts.map((prompt, index) => [prompt, index]));
  const pairs = evaluation.images.map(({ prompt, base, tuned }) => {
    const index = indices.get(prompt);
    const numbers = Object.entries(evaluation.metrics)
      .slice(0, 3)
      .flatMap(([name, metric]) => (index === undefined ? [] : [`${escapeHtml(name)} ${formatNumber(metric.base[index], 3)} → ${formatNumber(metric.tuned[index], 3)}`]));
    return `<figure class="pair"><div class="view">${pictureTag(data.pictures.get(base), `before: ${prompt}`)}${pictureTag(data.pictures.get(tuned), `after: ${prompt}`)}<span>before</span><span>after</span><input type="range" min="0" max="100" value="50" aria-label="divider between before and after"></div><figcaption>${escapeHtml(prompt)}<small>${numbers.join("<br>")}</small></figcaption></figure>`;
  });
  return `<section><h2>Before and after</h2><div class="bar-row"><p class="soft">The same held-out prompts and the same noise; only the adapter differs. ${evaluation.images.length} of ${evaluation.prompts.length} prompts are shown.</p><div class="modes" role="radiogroup" aria-label="view"><label><input type="radio" name="mode" id="mode-side" checked>Side by side</label><label><input type="radio" name="mode" id="mode-slider">Slider</label></div></div><div class="gallery">${pairs.join("")}</div></section>`;
}

function withError(value: number, error: number): string {
  return `${formatTo(value, error)}${Number.isFinite(error) ? ` <span class="pm">± ${formatTo(error, error)}</span>` : ""}`;
}

function tableMarkup(evaluation: EvaluationRecord): string {
  const rows = Object.entries(evaluation.metrics).map(([name, metric]) => {
    const pairs = comparePairs(metric.base, metric.tuned);
    const colour = isClear(pairs) ? directionOf(metric, pairs.difference) : "";
    const notes = [metric.unit, metric.higherIsBetter === false ? "lower is better" : undefined].filter((note) => note !== undefined);
    return `<tr><th scope="row">${escapeHtml(name)}${metric.isTrained === true ? '<span class="tag">trained on</span>' : ""}${notes.length === 0 ? "" : `<br><small>${escapeHtml(notes.join(", "))}</small>`}</th><td>${pairs.n}</td><td>${withError(pairs.base, pairs.baseError)}</td><td>${withError(pairs.tuned, pairs.tunedError)}</td><td class="${colour}">${formatSignedTo(pairs.difference, pairs.differenceError)}${Number.isFinite(pairs.differenceError) ? ` <span class="pm">± ${formatTo(pairs.differenceError, pairs.differenceError)}</span>` : ""}</td><td>${Number.isFinite(pairs.low) ? `${formatSignedTo(pairs.low, pairs.differenceError)} … ${formatSignedTo(pairs.high, pairs.differenceError)}` : "–"}</td><td>${formatNumber(100 * pairs.wins, 3)} %</td></tr>`;
  });
  return `<section><h2>Held-out comparison</h2><p class="soft">Mean ± standard error. The difference is taken prompt by prompt on equal noise, which is why its error is smaller than those of the two columns. A metric that was trained on can rise without better pictures: look at the others.</p><div class="table"><table><thead><tr><th scope="col">metric</th><th scope="col">n</th><th scope="col">base</th><th scope="col">tuned</th><th scope="col">difference</th><th scope="col">95 % interval</th><th scope="col">tuned is higher</th></tr></thead><tbody>${rows.join("")}</tbody></table></div></section>`;
}

function flatten(value: unknown, path: string, rows: [string, string][]): void {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value)) flatten(inner, path === "" ? key : `${path}.${key}`, rows);
  } else if (Array.isArray(value) && value.some((item) => typeof item === "object" && item !== null)) {
    value.forEach((item, index) => flatten(item, `${path}.${index}`, rows));
  } else if (Array.isArray(value)) {
    const shown = value.slice(0, 8).map(String).join(", ");
    rows.push([path, value.length > 8 ? `${shown}, … (${value.length})` : shown]);
  } else rows.push([path, String(value)]);
}

function rowsMarkup(rows: readonly (readonly [string, string])[]): string {
  return `<div class="table"><table><tbody>${rows.map(([name, value]) => `<tr><td>${escapeHtml(name)}</td><td><code>${escapeHtml(value)}</code></td></tr>`).join("")}</tbody></table></div>`;
}

function settingsMarkup(data: ReportData): string {
  const { run, evaluation } = data;
  const settings: [string, string][] = [];
  flatten(run.config, "", settings);
  const origin: [string, string][] = [["created", run.createdAt]];
  flatten(run.environment, "", origin);
  if (evaluation?.seed !== undefined) origin.push(["evaluation seed", String(evaluation.seed)]);
  if (evaluation?.promptsSha256 !== undefined) origin.push(["held-out prompts sha256", evaluation.promptsSha256]);
  for (const [role, { path, sha256 }] of Object.entries(run.inputs)) origin.push([role, path], [`${role} sha256`, sha256]);
  return `<section><h2>How to repeat it</h2><p class="soft">Every setting with its default written out, and what the numbers came from. Equal settings on an equal machine give equal numbers.</p><div class="columns">${rowsMarkup(settings)}${rowsMarkup(origin)}</div></section>`;
}

/** The report as one HTML document that needs no other file and no network. */
export function reportPage(data: ReportData, name: string): string {
  const { run, metrics, evaluation } = data;
  const planned = (run.config as { iterations?: unknown } | null)?.iterations;
  const progress = typeof planned === "number" && metrics.length < planned ? `${metrics.length} of ${planned} iterations so far` : `${metrics.length} iterations`;
  const model = (run.config as { model?: unknown } | null)?.model;
  const intro = [progress, typeof model === "string" ? `model ${model}` : undefined, run.createdAt.slice(0, 10)].filter((part) => part !== undefined).join(" · ");
  const charts = reportCharts(metrics);
  const notice = evaluation === undefined ? '<p class="notice">The run has not been evaluated yet: the comparison with the base model appears when it is finished.</p>' : "";
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="generator" content="tastemaker ${escapeHtml(run.environment.tastemaker)}"><title>${escapeHtml(name)} · Tastemaker</title><link rel="icon" href="data:,"><style>${pageStyle}</style></head><body><main>
<header><h1>${escapeHtml(name)}</h1><p class="soft">Reward fine-tuning · ${escapeHtml(intro)}</p>${watchMarkup(metrics, name)}${evaluation === undefined ? notice : factsMarkup(evaluation)}</header>
${evaluation === undefined ? "" : galleryMarkup(data, evaluation) + tableMarkup(evaluation)}
${charts === "" ? "" : `<section><h2>Curves</h2><p class="soft">Lines are means over neighbouring iterations, bands their standard errors; points with bars are held-out means with standard errors.</p><div class="charts">${charts}</div></section>`}
${settingsMarkup(data)}
<footer><small>Written by Tastemaker ${escapeHtml(run.environment.tastemaker)}. The numbers are in <code>metrics.jsonl</code> and <code>evaluation.json</code> beside this page.</small></footer>
</main><script>${pageScript}</script></body></html>
`;
}
