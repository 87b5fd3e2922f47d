import { join } from "node:path";
import { InternalError, UsageError } from "@tastemaker/tensor";
import { readEvaluation } from "../evaluate/record.ts";
import { meanOf } from "../report/paired-statistics.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { spreadOf } from "../train/evaluation-history.ts";
import type { Budget } from "./budget.ts";
import { failureOf, runChild } from "./child.ts";
import { readRecord, writeRecord } from "./files.ts";
import type { ExperimentPaths } from "./paths.ts";
import { baseArguments, shellLine } from "./run-command.ts";
import type { BaseRecord, PromptScores } from "./run-record.ts";

export type BaseKind = keyof BaseRecord["scores"];

/** Scores of a variant of an `evaluation.json` with one picture per prompt. */
export async function readScores(folder: string, variant: number): Promise<{ readonly prompts: readonly string[]; readonly scores: PromptScores }> {
  const { prompts, variants } = await readEvaluation(join(folder, "evaluation.json"));
  const found = variants[variant];
  if (found === undefined) throw new InternalError(`experiment: expected ${variant + 1} models in ${folder}, got ${variants.length}`);
  return { prompts: prompts.texts, scores: found.measured.scores };
}

/** Whether the base model has been measured by everything that is asked for. */
function isMeasured(record: BaseRecord | undefined, kind: BaseKind, { world }: Budget): boolean {
  return record !== undefined && world.metrics.every((name) => record.scores[kind][name] !== undefined);
}

/**
 * Reads `base.json`, and measures and writes what is missing of these models; undefined when Ctrl-C stopped it. A model that was never asked for has no scores.
 * @throws ChildFailure, UsageError `record-damaged`, `base-changed`
 */
export async function measureBase(budget: Budget, kinds: readonly BaseKind[], paths: ExperimentPaths, { signal, note }: { readonly signal: AbortSignal; readonly note: (text: string) => void }): Promise<BaseRecord | undefined> {
  const known = await readRecord<BaseRecord>(paths.base, "tastemaker-experiment-base/1");
  const missing = kinds.filter((kind) => !isMeasured(known, kind, budget));
  if (known !== undefined && missing.length === 0) return known;
  note(`measuring the untrained ${missing.join(" and ")} on ${budget.finalPrompts} held-out prompts`);
  const found = await Promise.all(
    missing.map(async (kind) => {
      const out = join(paths.work, "base", kind);
      const log = join(paths.work, "logs", "base", `${kind}.log`);
      const args = baseArguments(budget, kind, out);
      const end = await runChild(args, { log, cache: paths.cache, signal });
      if (end.code !== 0 && !signal.aborted) throw await failureOf(end, shellLine(args), log);
      return end.result?.["finished"] === true ? { kind, ...(await readScores(out, 0)) } : undefined;
    }),
  );
  if (found.some((one) => one === undefined)) return undefined;
  const prompts = known?.prompts ?? found[0]!.prompts;
  if (found.some((one) => String(one!.prompts) !== String(prompts))) throw changed(paths.base, "prompts");
  const scores = { emoji: {}, "emoji-teacher": {}, ...known?.scores, ...Object.fromEntries(found.map((one) => [one!.kind, one!.scores])) };
  const record: BaseRecord = { format: "tastemaker-experiment-base/1", environment: await describeEnvironment(1), prompts, scores };
  await writeRecord(paths.base, record);
  // As it will be read, so that a first call and a later one compute with the same digits.
  return readRecord<BaseRecord>(paths.base, "tastemaker-experiment-base/1");
}

function changed(path: string, what: string): UsageError {
  return new UsageError("base-changed", `experiment: expected the ${what} of the untrained model that ${path} holds, got others`, "the world, the budget or the machine has changed since: begin with another --out");
}

/** Of a standard deviation: a different processor's rounding stays far below, another model or other noise far above. */
const tolerance = 0.02;

/** @throws UsageError `base-changed` unless an evaluation's base model has the scores of `base.json`, without which its gains would be no gains */
export function checkBase(recorded: PromptScores, found: PromptScores, path: string): void {
  for (const [name, values] of Object.entries(recorded)) {
    const others = found[name];
    if (others?.length !== values.length) throw changed(path, name);
        const distance = meanOf(values.map((value, index) => Math.abs(value - others[index]!)));
    if (distance > tolerance * spreadOf(values) + 1e-4 * Math.abs(meanOf(values)) + 1e-9) throw changed(path, name);
  }
}
