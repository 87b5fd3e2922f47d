import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { EvaluateOptions } from "../cli/commands/evaluate.ts";
import { formatBytes, printable } from "../cli/output.ts";
import { allowRewards, requireAllowedRewards } from "../rewards/allowed-rewards.ts";
import { wallClock } from "../storage/clock.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { readRunRecord } from "../storage/run-directory.ts";
import { checkInputs, hashInputs } from "../train/run-inputs.ts";
import { EvaluationCache } from "./evaluation-cache.ts";
import { measure } from "./measure.ts";
import { openPlan } from "./plan.ts";
import { recordEvaluation } from "./record.ts";
import { resolveSampling } from "./sampling.ts";
import { requestEvaluation } from "./settings.ts";
import { evaluationTable } from "./table.ts";
import { runVerify } from "./verify-command.ts";
import { seenWarnings } from "./variants.ts";
import { evaluationFileName, writeResults } from "./write-results.ts";

/** With fewer prompts, intervals are guesses. */
const fewPrompts = 10;

/** Refuses a folder that holds anything but an evaluation, before minutes are spent. @throws UsageError `folder-not-empty` */
async function checkFolder(out: string): Promise<void> {
  const names = existsSync(out) ? await readdir(out).catch(() => [out]) : [];
  if (names.length === 0 || names.includes(evaluationFileName)) return;
  throw new UsageError("folder-not-empty", `evaluate: expected a new or empty folder, or one with an evaluation, got ${names.slice(0, 3).join(", ")} (at ${out})`, "choose another --out");
}

function shownPath(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") || short === "" ? path : short;
}

/** `tastemaker evaluate`. */
export async function runEvaluate(options: EvaluateOptions, context: CommandContext): Promise<void> {
  if (options.verify !== undefined) return runVerify(options, options.verify, context);
  const { output, signal } = context;
  const note = (text: string): void => output.note(text);
  const fetching = { signal, note: (text: string) => note(`warning: ${text}`) };
  const { settings, sampling, metrics, prompts, out, run } = await requestEvaluation(options, fetching.note, fetching);
  await checkFolder(out);
  // What only a run names must not run code or send pictures anywhere; what the command line names is allowed by that.
  if (run !== undefined && options.metrics === undefined) await requireAllowedRewards(metrics.named, (await readRunRecord(run.path)).inputs, note);
  else await allowRewards(metrics.named);
  const cache = await EvaluationCache.open();
  const plan = await openPlan(settings, (models) => resolveSampling(models, sampling, run?.config), metrics, prompts.prompts, cache.hashes, fetching);
  try {
    if (run !== undefined) checkRunInputs((await readRunRecord(run.path)).inputs, await hashInputs(plan.variants[0]!.model, {}, {}));
    if (prompts.prompts.length < fewPrompts) note(`warning: ${prompts.prompts.length} prompts are few; intervals can be trusted from about ${fewPrompts} on, and are narrow with several dozen`);
    for (const warning of seenWarnings(plan.variants, prompts.prompts.length)) note(`warning: ${printable(warning)}`);
    const environment = await describeEnvironment(settings.threads);
    const measurements = await measure(plan, cache, { signal, note });
    if (measurements === undefined) {
      output.print("stopped; everything computed so far is kept. The same command goes on from here.");
      output.result({ finished: false });
      return;
    }
    const file = recordEvaluation(plan, prompts, measurements, { createdAt: wallClock().toISOString(), environment });
    await writeResults(out, file, measurements.pictures.keys, cache.pictures);
    for (const line of evaluationTable(file)) output.print(line);
    output.print("");
    output.print(`page: ${shownPath(join(out, "evaluation.html"))}`);
    output.print(`numbers: ${shownPath(join(out, evaluationFileName))}, ${shownPath(join(out, "scores.csv"))}`);
    for (const { label, measured } of file.variants.slice(1)) if (measured.pixels!.every((value) => value === 0)) note(`warning: ${printable(label)} does not change a single picture`);
    output.result({
      finished: true,
      out,
      counts: measurements.counts,
      variants: file.variants.map(({ label, kind, path, summary }) => ({ label, kind, path, ...summary })),
    });
  } finally {
    await plan.dispose();
    const removed = await cache.prune(options.cacheLimit * 1e9);
    if (removed > 0) note(`removed ${formatBytes(removed)} from the cache (${cache.root})`);
  }
}

/** The base of a run must be what it was when the run began. */
function checkRunInputs(begun: Parameters<typeof checkInputs>[0], now: Parameters<typeof checkInputs>[1]): void {
  checkInputs(Object.fromEntries(Object.entries(begun).filter(([role]) => /^(?:unet|vae|text encoder)\b/.test(role))), now);
}
