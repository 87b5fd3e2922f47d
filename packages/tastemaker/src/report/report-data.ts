import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { readJsonLines } from "../storage/append-log.ts";
import { readRunRecord, runPaths, type RunRecord } from "../storage/run-directory.ts";
import { isSystemError, storageError } from "../storage/storage-error.ts";

/** One metric of base and tuned model on the same prompts and noise: entry i of both lists belongs to prompt i. */
export interface PairedMetric {
  readonly base: readonly number[];
  readonly tuned: readonly number[];
  /** What one unit means, e.g. `standard deviations`, `cosine`. */
  readonly unit?: string;
  /** Default true. */
  readonly higherIsBetter?: boolean;
  /** True when training optimised this very metric; such a gain alone proves nothing. */
  readonly isTrained?: boolean;
}

/** Content of `evaluation.json`, written after the last iteration. */
export interface EvaluationRecord {
  readonly format: 1;
  /** Held-out prompts; entry i belongs to entry i of every metric. */
  readonly prompts: readonly string[];
  readonly promptsSha256?: string;
  readonly seed?: number;
  readonly metrics: Readonly<Record<string, PairedMetric>>;
  /** Pictures for the gallery: PNG paths relative to the run directory. */
  readonly images: readonly { readonly prompt: string; readonly base: string; readonly tuned: string }[];
}

/** Mean and standard error of a metric over the held-out prompts at some iteration. */
export interface HeldOutPoint {
  readonly mean: number;
  readonly standardError: number;
}

/** The mean of paired differences with its one-sided test; `t` is absent where the differences are all equal. */
export interface TestedMean {
  readonly mean: number;
  /** Standard error; 0 where there is none. */
  readonly error: number;
  readonly t?: number;
  readonly p: number;
}

/** A measure that fell while the trained reward rose, and the numbers that say so. */
export interface WatchFinding {
  readonly metric: string;
  /** Iteration of the evaluation it fell from; 0 is the base model. */
  readonly since: number;
  /** Evaluations in a row that show it. */
  readonly looks: number;
  /** Held-out prompts. */
  readonly n: number;
  /** How far it got worse, in its own unit, positive. */
  readonly drop: TestedMean;
  /** The same in standard deviations of the base model's scores over the prompts. */
  readonly dropSize: number;
  /** What `drop.p` had to stay below: the permitted false alarms, shared among all comparisons of the run. */
  readonly level: number;
  /** Rise of the trained reward (weighted sum) on the same prompts. */
  readonly rise: TestedMean;
}

/** What the watch for over-optimisation says after an evaluation. */
export interface WatchVerdict {
  /** `suspected`: seen, but not yet in as many evaluations in a row as it takes. */
  readonly state: "quiet" | "suspected" | "fired";
  readonly findings: readonly WatchFinding[];
}

/** What a policy-gradient or preference objective says of an iteration: means over samples and steps, of all its updates. */
export interface PolicyNumbers {
  /** π_θ/π_old (of D3PO: π_θ/π_ref). */
  readonly ratio: number;
  /** Share of the ratios outside the clip range. */
  readonly clipFraction: number;
  /** ½ (log ratio)². */
  readonly approxKl: number;
  /** KL(π_θ‖π_ref) of a step, where the objective computes it. */
  readonly kl?: number;
  /** Mean squared error of the learned baseline before it saw the iteration's rewards, in squared deviations of the first iteration's; where there is one. */
  readonly valueLoss?: number;
}

/** A line of `metrics.jsonl`, one per iteration; a function of the configuration alone. */
export interface MetricsLine {
  readonly iteration: number;
  /** Weighted sum of the rewards (normalised where asked), mean of the batch. */
  readonly reward: number;
  /** Each reward alone, before its normalisation and weight. */
  readonly rewards: Readonly<Record<string, number>>;
  /** Of those rewards that are normalised: what enters the sum, before the weight. */
  readonly normalized?: Readonly<Record<string, number>>;
  /** Summed over the steps, before beta; 0 where the objective has none. */
  readonly divergence: number;
  /** Weight of the divergence in the loss; 0 where the objective has none. */
  readonly beta: number;
  readonly loss: number;
  /** Before clipping. */
  readonly gradNorm: number;
  /** Of the objectives other than rocm. */
  readonly policy?: PolicyNumbers;
  /** Held-out metrics of the tuned model, on evaluation iterations. */
  readonly heldOut?: Readonly<Record<string, HeldOutPoint>>;
  /** The same of the base model, in the first line. */
  readonly heldOutBefore?: Readonly<Record<string, HeldOutPoint>>;
  /** What `heldOut` averages: per metric one number per held-out prompt. */
  readonly promptScores?: Readonly<Record<string, readonly number[]>>;
  /** What `heldOutBefore` averages. */
  readonly promptScoresBefore?: Readonly<Record<string, readonly number[]>>;
  /** On evaluation iterations, unless the watch is off. */
  readonly watch?: WatchVerdict;
  /** On evaluation iterations: iteration of the best checkpoint so far. */
  readonly best?: number;
}

/** Everything a report shows. */
export interface ReportData {
  readonly run: RunRecord;
  readonly metrics: readonly MetricsLine[];
  readonly timings: readonly Readonly<Record<string, unknown>>[];
  /** Undefined while the run is not finished. */
  readonly evaluation: EvaluationRecord | undefined;
  /** PNG files of the gallery as data URIs, keyed by relative path. */
  readonly pictures: ReadonlyMap<string, string>;
}

const isNumberList = (value: unknown): value is number[] => Array.isArray(value) && value.every((item) => typeof item === "number");

function checkEvaluation(value: unknown, path: string): EvaluationRecord {
  const fail = (expected: string): never => {
    throw new UsageError("run-damaged", `evaluation: expected ${expected} (at ${path})`, "run the evaluation again");
  };
  const record = value as Partial<EvaluationRecord> | null;
  if (typeof record !== "object" || record === null || record.format !== 1) return fail("a record of format 1");
  const { prompts, metrics, images } = record;
  if (!Array.isArray(prompts) || typeof metrics !== "object" || metrics === null || !Array.isArray(images)) return fail("prompts, metrics and images");
  for (const [name, { base, tuned }] of Object.entries(metrics)) {
    if (!isNumberList(base) || !isNumberList(tuned) || base.length !== prompts.length || tuned.length !== prompts.length) {
      fail(`${prompts.length} numbers (one per prompt) in base and tuned of metric "${name}"`);
    }
  }
  return record as EvaluationRecord;
}

/**
 * Reads what a report needs from a run directory; the run may still be going on.
 * @throws UsageError `run-missing`, `run-damaged`, `path-missing` for a picture that `evaluation.json` names
 */
export async function readReportData(root: string): Promise<ReportData> {
  const paths = runPaths(root);
  const run = await readRunRecord(root);
  const metrics = (await readJsonLines(paths.metrics)) as unknown as MetricsLine[];
  const timings = await readJsonLines(paths.timings);
  let evaluation: EvaluationRecord | undefined;
  try {
    evaluation = checkEvaluation(JSON.parse(await readFile(paths.evaluation, "utf8")), paths.evaluation);
  } catch (error) {
    if (error instanceof SyntaxError) throw new UsageError("run-damaged", `evaluation: expected JSON, got ${error.message} (at ${paths.evaluation})`, "run the evaluation again");
    if (!isSystemError(error) || error.code !== "ENOENT") throw storageError(error, "read", paths.evaluation);
  }
  const pictures = new Map<string, string>();
  for (const { base, tuned } of evaluation?.images ?? []) {
    for (const name of [base, tuned]) {
      const path = join(root, name);
      const bytes = await readFile(path).catch((error: unknown) => {
        throw storageError(error, "read", path);
      });
      pictures.set(name, `data:image/png;base64,${bytes.toString("base64")}`);
    }
  }
  return { run, metrics, timings, evaluation, pictures };
}
