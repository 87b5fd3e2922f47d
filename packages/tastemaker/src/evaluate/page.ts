import { escapeHtml } from "../report/html.ts";
import { pageStyle } from "../report/page-style.ts";
import { galleryScript } from "./page-script.ts";
import { gallerySection } from "./page-gallery.ts";
import { evaluationStyle } from "./page-style.ts";
import { tableSection } from "./page-table.ts";
import type { EvaluationFile } from "./record.ts";
import { seenWarnings } from "./variants.ts";

function rowsMarkup(rows: readonly (readonly [string, string])[]): string {
  return `<div class="table"><table><tbody>${rows.map(([name, value]) => `<tr><td>${escapeHtml(name)}</td><td><code>${escapeHtml(value)}</code></td></tr>`).join("")}</tbody></table></div>`;
}

function samplerRows({ steps, timesteps, guidanceScale, ddim }: EvaluationFile["settings"]): [string, string][] {
  const ofConsistency: [string, string][] = [["steps", String(steps)], ["timesteps", String(timesteps)], ["guidance scale", String(guidanceScale)]];
  const ofDiffusion: [string, string][] = [["DDIM steps", String(ddim?.steps)], ["DDIM eta", String(ddim?.eta)], ["DDIM guidance scale", String(ddim?.guidanceScale)]];
  return [...(steps === undefined ? [] : ofConsistency), ...(ddim === undefined ? [] : ofDiffusion)];
}

function originSection(file: EvaluationFile): string {
  const { settings, environment, machine, code, prompts, metrics, embedding, variants } = file;
  const setting: [string, string][] = [
    ...samplerRows(settings),
    ["seed", String(settings.seed)],
    ["pictures per prompt", String(settings.seeds)],
    ["prompts", `${prompts.texts.length} of ${prompts.source}`],
    ["prompts sha256", prompts.sha256],
    ["bootstrap samples", String(settings.resamples)],
    ["provider", settings.provider],
    ["created", file.createdAt],
    ["tastemaker", environment.tastemaker],
    ...(environment.commit === undefined ? [] : ([["commit", environment.commit]] as [string, string][])),
    ["code of the pictures", code.pictures],
    ["code of the scores", code.scores],
    ["onnxruntime", machine.onnxruntime],
    ["node", environment.node],
    ["platform", environment.platform],
    ["processor", machine.cpu],
  ];
  const hashes: [string, string][] = [];
  for (const [index, { label, kind, path, files, run }] of variants.entries()) {
    hashes.push([label, path]);
    const shown = index > 0 && kind === "adapter" ? Object.entries(files).filter(([role]) => role === "adapter") : Object.entries(files);
    for (const [role, { sha256 }] of shown) hashes.push([`${role} sha256`, sha256]);
    if (run !== null) hashes.push(["training run", `${run.path}${run.step === null ? "" : `, step ${run.step}`}, rewards ${run.trained.join(", ")}`]);
  }
  for (const { name, preprocessing, source, files } of metrics) {
    hashes.push([name, source ?? "–"]);
    if (preprocessing !== null) hashes.push([`${name} preprocessing`, preprocessing]);
    for (const { path, sha256 } of files) hashes.push([`${name}: ${path.split(/[\\/]/).at(-1)}`, sha256]);
  }
  if (embedding !== null) hashes.push(["diversity and distance", `${embedding.path}; ${embedding.preprocessing}`]);
  return `<section><h2>How to repeat it</h2><p class="soft"><code>tastemaker evaluate --verify evaluation.json</code> computes everything again from scratch and says whether it holds. Single scores are in <code>scores.csv</code>.</p><div class="columns">${rowsMarkup(setting)}${rowsMarkup(hashes)}</div></section>`;
}

/** The evaluation as a page that needs nothing but the pictures beside it. */
export function evaluationPage(file: EvaluationFile): string {
  const { variants, prompts, settings, environment, createdAt } = file;
  const [base, ...others] = variants;
  const name = base!.path.split(/[\\/]/).at(-1)!;
  const title = others.length === 0 ? name : `${name} against ${others.map(({ label }) => label).join(", ")}`;
  const notices = seenWarnings(variants, prompts.texts.length).map((text) => `<p class="notice">${escapeHtml(text)}.</p>`).join("");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="generator" content="tastemaker ${escapeHtml(environment.tastemaker)}"><title>${escapeHtml(title)} · Tastemaker</title><link rel="icon" href="data:,"><style>${pageStyle}
${evaluationStyle}</style></head><body><main>
<header><h1>${escapeHtml(title)}</h1><p class="soft">Evaluation · ${prompts.texts.length} prompts × ${settings.seeds} seed${settings.seeds === 1 ? "" : "s"} · ${settings.steps} steps, guidance ${settings.guidanceScale} · ${escapeHtml(createdAt.slice(0, 10))}</p>${notices}</header>
${tableSection(file)}
${gallerySection(file)}
${originSection(file)}
<footer><small>Written by Tastemaker ${escapeHtml(environment.tastemaker)}. Every number is in <code>evaluation.json</code> beside this page.</small></footer>
</main><script>${galleryScript}</script></body></html>
`;
}
