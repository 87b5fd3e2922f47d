import { availableParallelism } from "node:os";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { ExperimentOptions } from "../cli/commands/experiment.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { type LockOwner, tryLock } from "../storage/run-lock.ts";
import { type BaseKind, measureBase } from "./base.ts";
import { type Budget, readBudget } from "./budget.ts";
import { ChildFailure } from "./child.ts";
import { measureCosts } from "./divergence-costs.ts";
import { calibrate } from "./calibrate.ts";
import type { Calibration } from "./calibration.ts";
import { chooseBetas, chooseLearningRates, rewardSpreads } from "./choose.ts";
import { describeCost, totalSeconds } from "./estimate.ts";
import { readRecord, readRunRecords } from "./files.ts";
import { type ExperimentPaths, experimentPaths } from "./paths.ts";
import { neededMethods, neededRates, planOutline, planPaper } from "./plan.ts";
import { writeExperimentReport } from "./report.ts";
import { ExperimentProgress, type Failure, openRuns, runPool } from "./run-all.ts";
import { baseOf, type BaseRecord, methods, parts, trainedRewards } from "./run-record.ts";
import { everything, parseNames, type Selection, targets } from "./selection.ts";

function selectionOf({ action, only, rewards, methods: rows }: ExperimentOptions, budget: Budget): Selection {
  const known = budget.methods ?? methods;
  return {
    targets: action === "search" ? ["search"] : only === undefined ? everything.targets : parseNames("part", only, targets),
    rewards: rewards === undefined ? trainedRewards : parseNames("reward", rewards, budget.rewards),
    methods: rows === undefined ? known : parseNames("method", rows, known),
  };
}

/** Untrained models that a selection is compared with. */
function neededBases(budget: Budget, selection: Selection): BaseKind[] {
  if (selection.targets.includes("table4")) return ["emoji", "emoji-teacher"];
  // Beta is measured in the spread of the consistency model's reward, and scores of all methods are compared on its scale.
  return [...new Set<BaseKind>(["emoji", ...neededMethods(budget, selection).map(baseOf)])];
}

function locked(path: string, { pid, host, startedAt }: LockOwner): UsageError {
  return new UsageError("experiment-locked", `experiment: expected no other process at work on it, got process ${pid} on ${host} since ${startedAt} (lock ${path})`, "wait for it, stop it, or choose another --work");
}

interface Parts {
  readonly budget: Budget;
  readonly selection: Selection;
  readonly paths: ExperimentPaths;
  readonly jobs: number;
}

/** Makes everything a selection needs that is not there yet. Returns the failures; undefined when Ctrl-C stopped it. */
async function makeRuns({ budget, selection, paths, jobs }: Parts, { output, signal }: CommandContext): Promise<Failure[] | undefined> {
  const note = (text: string): void => output.note(text);
  const calibration = await calibrate(budget, neededMethods(budget, selection), paths, { jobs, signal, note });
  if (calibration === undefined) return undefined;
  await measureCosts(paths);
  if (calibration.jobs !== jobs) note(`warning: ${paths.calibration} was measured with ${calibration.jobs} runs at once, not ${jobs}; training times in tables and figures are those`);
  const outline = planOutline(budget, calibration, selection);
  for (const line of describeCost(outline, budget, calibration, jobs)) note(line);
  const base = await measureBase(budget, neededBases(budget, selection), paths, { signal, note });
  if (base === undefined) return undefined;
  const rates = neededRates(budget, selection);
  const options = { jobs, note, outline: { runs: outline.length, seconds: totalSeconds(outline, budget, calibration) } };
  const failures: Failure[] = [];
  let progress: ExperimentProgress | undefined;
  for (;;) {
    const records = await readRunRecords(paths.runs);
    const search = chooseLearningRates(budget, calibration, records, rates);
    const sweep = search && chooseBetas(budget, calibration, base, search, records);
    const specs = planPaper(budget, calibration, rewardSpreads(budget, base), search, sweep, selection);
    const open = openRuns(specs, records, { paths }).filter(({ id }) => failures.every((failure) => failure.id !== id));
    if (open.length === 0) return failures;
    if (progress === undefined) {
      const done = specs.filter((spec) => !open.includes(spec));
      progress = new ExperimentProgress(options, { runs: done.length, seconds: totalSeconds(done, budget, calibration) });
    }
    failures.push(...(await runPool(open, { budget, calibration, base, paths, signal, note }, options, progress)));
    if (signal.aborted) return undefined;
  }
}

/** What tables and figures are made from, as far as it is there. */
async function readInputs(paths: ExperimentPaths): Promise<{ calibration: Calibration; base: BaseRecord } | undefined> {
  const calibration = await readRecord<Calibration>(paths.calibration, "tastemaker-experiment-calibration/1");
  const base = await readRecord<BaseRecord>(paths.base, "tastemaker-experiment-base/1");
  return calibration === undefined || base === undefined ? undefined : { calibration, base };
}

async function report({ budget, paths }: Parts): Promise<string[]> {
  const inputs = await readInputs(paths);
  if (inputs === undefined) throw new UsageError("experiment-missing", `experiment: expected ${paths.calibration} and ${paths.base}, got no such files`, "make the experiment first: tastemaker experiment paper");
  return writeExperimentReport({ budget, paths, ...inputs, records: await readRunRecords(paths.runs) }, paths.results);
}

/** `tastemaker experiment status`. */
async function showStatus({ budget, selection, paths, jobs }: Parts, { output }: CommandContext): Promise<void> {
  const inputs = await readInputs(paths);
  const records = await readRunRecords(paths.runs);
  const isCalibrated = inputs !== undefined && neededMethods(budget, selection).every((method) => inputs.calibration.secondsPerIteration[method] !== undefined);
  if (!isCalibrated) {
    output.print(`not begun: no calibration${inputs === undefined ? " or untrained models" : " of all methods"} below ${paths.results}`);
    output.result({ begun: false, records: records.size });
    return;
  }
  const { calibration, base } = inputs;
  const outline = planOutline(budget, calibration, selection);
  const search = chooseLearningRates(budget, calibration, records, neededRates(budget, selection));
  const specs = planPaper(budget, calibration, rewardSpreads(budget, base), search, search && chooseBetas(budget, calibration, base, search, records), selection);
  const open = openRuns(specs, records, { paths });
  const rows = parts.map((part) => {
    const planned = outline.filter((spec) => spec.part === part).length;
    const done = specs.filter((spec) => spec.part === part && !open.includes(spec)).length;
    return { part, done, planned };
  });
  for (const { part, done, planned } of rows) if (planned > 0) output.print(`${part.padEnd(8)} ${done} of ${planned}`);
  const left = rows.flatMap(({ part, done }) => outline.filter((spec) => spec.part === part).slice(done));
  if (left.length > 0) output.print(`left: ${describeCost(left, budget, calibration, jobs)[0]!.replace(/:$/, "")}`);
  output.result({ begun: true, parts: Object.fromEntries(rows.map(({ part, done, planned }) => [part, { done, planned }])), chosen: search ?? null });
}

/** `tastemaker experiment paper|search|status|report`. */
export async function runExperiment(options: ExperimentOptions, context: CommandContext): Promise<void> {
  const { output } = context;
  const budget = await readBudget(options.budget);
  const given: Parts = { budget, selection: selectionOf(options, budget), paths: experimentPaths(budget, options.out, options.work), jobs: options.jobs ?? availableParallelism() };
  const { paths } = given;
  if (options.action === "status") return showStatus(given, context);
  if (options.action === "report") {
    const written = await report(given);
    for (const path of written) output.print(path);
    return output.result({ written });
  }
  await ensureFolder(paths.work);
  const taken = await tryLock(paths.lock);
  if ("holder" in taken) throw locked(paths.lock, taken.holder);
  try {
    const failures = await makeRuns(given, context);
    if (failures === undefined) {
      output.print("stopped; everything finished is kept. The same command goes on from here.");
      return output.result({ finished: false });
    }
    for (const { id, message } of failures) output.print(`failed: ${id}: ${message}`);
    const written = await report(given);
    for (const path of written) output.print(path);
    if (failures.length > 0) process.exitCode = 1;
    output.result({ finished: failures.length === 0, results: paths.results, written, failures });
  } catch (error) {
    // Of the calibration or a base model, without which nothing else can be made.
    throw error instanceof ChildFailure ? new UsageError("experiment-failed", `experiment: ${error.message}`, "the log says more; the same command goes on from here") : error;
  } finally {
    await taken.lock.release();
  }
}
