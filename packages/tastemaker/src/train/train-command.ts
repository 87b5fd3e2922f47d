import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { ResumeOptions } from "../cli/commands/resume.ts";
import { Progress } from "../cli/progress.ts";
import { policyOf } from "../config/policy-setting.ts";
import { type MetricSetting, mostIterations, type TrainConfig } from "../config/train-config.ts";
import { openRunEvents } from "../logs/run-events.ts";
import type { EvaluationRecord, MetricsLine, PolicyNumbers } from "../report/report-data.ts";
import { comparePairs } from "../report/paired-statistics.ts";
import { describeFinding, watchSummary } from "../report/watch-summary.ts";
import { openNodeBackend } from "../platform/runtime.ts";
import { writeReport } from "../report/write-report.ts";
import { wallClock } from "../storage/clock.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { metricSettings } from "../rewards/held-out-metrics.ts";
import { allowRewards, requireAllowedRewards } from "../rewards/allowed-rewards.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { findCheckpoint, RunDirectory } from "../storage/run-directory.ts";
import { initialBeta } from "./beta-controller.ts";
import { readTrainConfig } from "./read-train-config.ts";
import { measuredOnce } from "./reward-normalization.ts";
import { checkInputs } from "./run-inputs.ts";
import { explainStop, runTraining, type TrainEnd } from "./train-loop.ts";
import { valueLayoutOf } from "./open-objective.ts";
import { absolutePaths, openSession, pinnedWeights, type TrainSession } from "./train-session.ts";
import { initialState, loadState, resultOf, type TrainState } from "./train-state.ts";
import { initialValueState } from "./value-baseline.ts";

/** `runs/<date>-<model>`, with a number behind it when that is taken. */
function chooseFolder(config: TrainConfig): string {
  const model = config.model.replace(/@[0-9a-f]{40}(?=:|$)/, "").split(/[\\/]/).filter((part) => part !== "").at(-1) ?? "model";
  const first = join("runs", `${wallClock().toISOString().slice(0, 10)}-${model.replaceAll(/[^\w.-]+/g, "-")}`);
  for (let number = 1; ; number++) {
    const path = number === 1 ? first : `${first}-${number}`;
    if (!existsSync(path)) return path;
  }
}

/** A comparison in one line, e.g. `clip-score 0.712 → 0.845 (+0.133 ± 0.009, 14.8 standard errors)`. */
export function describeMetric(name: string, { base, tuned }: EvaluationRecord["metrics"][string]): string {
  const pairs = comparePairs(base, tuned);
  const errors = pairs.difference / pairs.differenceError;
  const clear = Number.isFinite(errors) ? ` ± ${pairs.differenceError.toPrecision(2)}, ${Math.abs(errors).toFixed(1)} standard errors` : "";
  return `${name} ${pairs.base.toFixed(4)} → ${pairs.tuned.toFixed(4)} (${pairs.difference < 0 ? "−" : "+"}${Math.abs(pairs.difference).toFixed(4)}${clear})`;
}

function shownPath(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") || short === "" ? path : short;
}

function policyProgress({ clipFraction, approxKl, kl }: PolicyNumbers): string {
  return `clipped ${(100 * clipFraction).toFixed(0)} %, ${kl === undefined ? `change ${approxKl.toExponential(1)}` : `KL ${kl.toPrecision(2)}`}`;
}

/** A command's context, with a time limit after which a run is evaluated as far as it got. */
export interface TrainContext extends CommandContext {
  readonly timeOver?: AbortSignal;
}

/** Trains from the state's iteration to the end, then compares and writes the report, whose path it returns; undefined when Ctrl-C stopped it. */
async function trainToEnd(session: TrainSession, config: TrainConfig, state: TrainState, run: RunDirectory, context: TrainContext): Promise<string | undefined> {
  const { output, signal, timeOver } = context;
  const root = shownPath(run.paths.root);
  run.follow(await openRunEvents(run.paths.root));
  const progress = new Progress({ label: "training", total: config.iterations, initial: state.iteration });
  let end: TrainEnd = "finished";
  let last: MetricsLine["watch"] = watchSummary(await readLines(run)).newest?.watch;
  const onIteration = ({ iteration, reward, divergence, beta, policy, watch, best }: MetricsLine): void => {
    const rest = policy === undefined ? `divergence ${divergence.toFixed(4)}, beta ${beta.toPrecision(2)}` : policyProgress(policy);
    progress.update(iteration, `reward ${reward.toFixed(3)}, ${rest}`);
    if (watch === undefined) return;
    // Said once when it begins, and again when another measure joins; every evaluation's verdict is in metrics.jsonl.
    const told = last?.state === "fired" ? last.findings.map(({ metric }) => metric) : [];
    last = watch;
    if (watch.state !== "fired" || watch.findings.every(({ metric }) => told.includes(metric))) return;
    progress.finish();
    for (const finding of watch.findings) output.note(`over-optimisation at iteration ${iteration}: ${describeFinding(finding)}`);
    if (best !== undefined) output.note(`the best checkpoint is that of iteration ${best}`);
  };
  try {
    if (state.iteration < config.iterations) {
      const measured = await measuredOnce(run, config, () => session.measureRewards(), (text) => output.note(text));
      output.note("preparing the training step (its gradient is derived and compiled once)");
      const parts = await session.compile(measured);
      end = await runTraining(parts, state, run, {
        shouldStop: () => signal.aborted || timeOver?.aborted === true,
        note: (text) => output.note(text),
        onIteration,
      });
      await session.releaseStep();
    }
  } catch (error) {
    throw explainStop(error, run);
  } finally {
    progress.finish();
  }
  if (end === "watch") output.print(`stopped by the watch after iteration ${state.iteration} of ${config.iterations}; everything is saved`);
  if (end === "asked" && !signal.aborted) output.note(`the time is over after ${state.iteration} of ${config.iterations} iterations; \`tastemaker resume ${root}\` does the rest`);
  if (end === "asked" && signal.aborted) {
    output.print(`stopped after iteration ${state.iteration} of ${config.iterations}; everything is saved. Go on with: tastemaker resume ${root}`);
    output.result({ finished: false, run: run.paths.root, iterations: state.iteration });
    return undefined;
  }
  return finish(session, state, run, context, end);
}

/** The lines of `metrics.jsonl` so far. */
async function readLines(run: RunDirectory): Promise<MetricsLine[]> {
  return (await readJsonLines(run.paths.metrics)) as unknown as MetricsLine[];
}

/** Compares base and tuned model, writes the report and returns its path. */
async function finish(session: TrainSession, state: TrainState, run: RunDirectory, { output }: CommandContext, end: TrainEnd = "finished"): Promise<string> {
  output.note("comparing the base and the tuned model on held-out prompts");
  const { record, warnings } = await session.evaluator.write(run, resultOf(state));
  for (const warning of warnings) output.note(`warning: ${warning}`);
  const report = await writeReport(run.paths.root);
  for (const [name, metric] of Object.entries(record.metrics)) output.print(describeMetric(name, metric));
  const { newest, best, isBestClean, sentences } = watchSummary(await readLines(run));
  for (const sentence of sentences) output.print(sentence);
  output.print(`report: ${shownPath(report)}`);
  output.print(`adapter: ${shownPath(run.latest!.path)}`);
  const root = shownPath(run.paths.root);
  // Its folder may be gone where checkpoints were damaged or deleted; that must not lose the comparison.
  const bestPath = best === undefined ? undefined : (await findCheckpoint(run.paths.root, "best").catch(() => undefined))?.path;
  if (bestPath !== undefined && best !== state.iteration) output.print(`best checkpoint: iteration ${best}; use it with \`tastemaker export ${root} --checkpoint best\` or \`tastemaker generate PROMPT --adapter ${root} --checkpoint best\``);
  if (!isBestClean) output.print("every evaluated checkpoint shows it: lower learningRate or raise beta, and evaluate more often");
  if (end === "watch") output.print(`to go on all the same: tastemaker resume ${root} --ignore-watch`);
  output.result({
    finished: end !== "watch",
    ...(newest?.watch && { watch: { ...newest.watch, iteration: newest.iteration, stopped: end === "watch" } }),
    ...(best !== undefined && bestPath !== undefined ? { best: { step: best, path: bestPath } } : {}),
    run: run.paths.root,
    iterations: state.iteration,
    report,
    adapter: run.latest!.path,
    metrics: Object.fromEntries(Object.entries(record.metrics).map(([name, { base, tuned }]) => [name, comparePairs(base, tuned)])),
  });
  return report;
}

/** `tastemaker train`. */
export async function runTrain(config: TrainConfig, context: CommandContext): Promise<void> {
  await trainAndReport(config, context);
}

/** Trains in a new run directory and returns the path of the report; undefined when Ctrl-C stopped it before. */
export async function trainAndReport(given: TrainConfig, context: TrainContext): Promise<string | undefined> {
  const { output, signal } = context;
  const warn = (text: string): void => output.note(`warning: ${text}`);
  const fetching = { note: warn, signal };
  // Before anything is fetched for a graphics card that is not there.
  await openNodeBackend({ threads: given.threads, provider: given.provider });
  const config = await pinnedWeights(absolutePaths(given), fetching);
  const out = config.out ?? chooseFolder(config);
  // Before minutes are spent on a folder that cannot be used.
  const session = await openSession(config, warn, fetching);
  try {
    await allowRewards(scorersOf(config));
    const { out: _out, ...settings } = config;
    const run = await RunDirectory.create(out, {
      kind: "train",
      createdAt: wallClock().toISOString(),
      config: settings,
      environment: await describeEnvironment(config.threads),
      inputs: session.inputs,
    });
    output.note(`run directory: ${shownPath(run.paths.root)}`);
    try {
      return await trainToEnd(session, config, newState(session, config), run, context);
    } finally {
      await run.close();
    }
  } finally {
    await session.dispose();
  }
}

function newState(session: TrainSession, config: TrainConfig): TrainState {
  return initialState(session.layout, { seed: config.seed, ema: config.ema, beta: initialBeta(config.beta, config.iterations), value: policyOf(config).valueBaseline ? initialValueState(valueLayoutOf(session.model), config.seed) : undefined });
}

/** All that a configuration names to score pictures with. */
function scorersOf({ rewards, evaluation }: TrainConfig): readonly MetricSetting[] {
  return [...rewards, ...metricSettings({ evaluation })];
}

/** Opens a run of `tastemaker train` and its state at the newest checkpoint; `prepare` may refuse or change the configuration before anything large is opened. */
async function withRun(root: string, context: CommandContext, use: (parts: { session: TrainSession; config: TrainConfig; state: TrainState; run: RunDirectory }) => Promise<void>, prepare?: (config: TrainConfig, run: RunDirectory) => Promise<TrainConfig>): Promise<void> {
  const { output, signal } = context;
  const warn = (text: string): void => output.note(`warning: ${text}`);
  const recorded = await readTrainConfig(root);
  const run = await RunDirectory.open(root);
  try {
    for (const warning of run.warnings) warn(warning);
    await requireAllowedRewards(scorersOf(recorded), run.record.inputs, (text) => output.note(text));
    const config = prepare === undefined ? recorded : await prepare(recorded, run);
    const session = await openSession(config, warn, { note: warn, signal });
    try {
      checkInputs(run.record.inputs, session.inputs);
      const state = newState(session, config);
      if (run.latest !== undefined) await loadState(state, run.latest.path, policyOf(config));
      await use({ session, config, state, run });
    } finally {
      await session.dispose();
    }
  } finally {
    await run.close();
  }
}

/**
 * A run's configuration for another number of iterations, of which some are done.
 * @throws UsageError `too-few-iterations`, `too-many-iterations`, `beta-schedule` where beta depends on the number
 */
function withIterations(config: TrainConfig, iterations: number, done: number): TrainConfig {
  if (iterations < done) throw new UsageError("too-few-iterations", `resume: expected at least ${done}, the iterations that are done, got ${iterations} (at --iterations)`, `give a larger number; \`--checkpoint ${iterations}\` of other commands takes an earlier state, where it was kept`);
  if (iterations > mostIterations) throw new UsageError("too-many-iterations", `resume: expected at most ${mostIterations}, got ${iterations} (at --iterations)`, "give a smaller number");
  const { beta } = config;
  if (iterations !== config.iterations && typeof beta === "object" && "schedule" in beta && beta.schedule !== "constant") {
    throw new UsageError("beta-schedule", `resume: expected a beta that does not depend on the number of iterations, got one that goes from ${beta.from} to ${beta.to} in ${config.iterations} (at --iterations)`, "train anew with the other number");
  }
  return { ...config, iterations };
}

/** `tastemaker resume RUN`. */
export async function runResume({ run: root, ignoreWatch, iterations }: ResumeOptions, context: CommandContext): Promise<void> {
  const prepare = async (recorded: TrainConfig, run: RunDirectory): Promise<TrainConfig> => {
    const config = iterations === undefined ? recorded : withIterations(recorded, iterations, run.latest?.step ?? 0);
    if (config.watch.action !== "stop") return config;
    if (ignoreWatch) return { ...config, watch: { ...config.watch, action: "warn" } };
    const { newest } = watchSummary(await readLines(run));
    if (newest?.watch.state !== "fired" || newest.iteration === config.iterations) return config;
    const seen = newest.watch.findings.map(describeFinding).join("; ");
    throw new UsageError("watch-stopped", `resume: expected a run without over-optimisation, got one that the watch stopped after iteration ${newest.iteration}: ${seen} (at ${root})`, "`--ignore-watch` goes on all the same; `tastemaker export RUN --checkpoint best` takes the best checkpoint");
  };
  await withRun(root, context, async ({ session, config, state, run }) => {
    // Not before everything else that a resumed run needs was found to be right.
    if (iterations !== undefined) await run.changeConfig({ iterations });
    context.output.note(`continuing ${shownPath(run.paths.root)} after iteration ${state.iteration} of ${config.iterations}`);
    await trainToEnd(session, config, state, run, context);
  }, prepare);
}
