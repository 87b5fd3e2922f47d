import { UsageError } from "@tastemaker/tensor";
import type { TrainConfig } from "../config/train-config.ts";
import { sheetName } from "../logs/run-events.ts";
import type { AdapterLayout } from "../models/adapter.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import type { MetricsLine } from "../report/report-data.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { monotonicMs } from "../storage/clock.ts";
import type { RunDirectory } from "../storage/run-directory.ts";
import { type ParameterSet, updateAdamW, updateAverage } from "./adamw.ts";
import { afterEvaluation } from "./beta-controller.ts";
import { checkGradient } from "./checks.ts";
import type { Evaluator } from "./evaluation.ts";
import { historyOf, newestRise, withLine } from "./evaluation-history.ts";
import { type EvaluationRules, lookAtBase, lookAtTuned } from "./held-out-look.ts";
import type { Objective } from "./objective.ts";
import { resultOf, saveState, type TrainState } from "./train-state.ts";

/** What the loop works with; nothing here changes while it runs. */
export interface TrainParts {
  readonly config: TrainConfig;
  readonly objective: Objective;
  readonly layout: AdapterLayout;
  readonly evaluator: Evaluator;
  readonly rules: EvaluationRules;
  /** ΣD of a visibly changed model, for the controller of beta. */
  readonly typicalDivergence: number;
}

export interface TrainHooks {
  /** Asked once per iteration; true: finish the iteration, save, return. */
  shouldStop(): boolean;
  /** Told what takes a while besides iterations. */
  note(text: string): void;
  /** Called after every iteration with its line. */
  onIteration(line: MetricsLine): void;
}

/** Why training ended: all iterations are done, it was asked to, or the watch found over-optimisation and `watch.action` is `stop`. */
export type TrainEnd = "finished" | "asked" | "watch";

/** Trains the adapter until the configured iterations are done or something stops it; either way the state is saved. */
export async function runTraining(parts: TrainParts, state: TrainState, run: RunDirectory, hooks: TrainHooks): Promise<TrainEnd> {
  const { config, objective, evaluator, rules } = parts;
  const { iterations, learningRate, weightDecay, maxGradNorm, adam, ema, evaluation, checkpoint } = config;
  let history = historyOf((await readJsonLines(run.paths.metrics)) as unknown as MetricsLine[]);
  while (state.iteration < iterations) {
    const startedAt = monotonicMs();
    const { iteration } = state;
    const norms: number[] = [];
    const update = (gradients: ParameterSet): void => {
      norms.push(updateAdamW(state.parameters, gradients, state.optimizer, learningRate, { ...adam, weightDecay, maxGradNorm }));
      if (state.average) updateAverage(state.average, state.parameters, ema);
    };
    const result = await objective.iterate(state, update);
    state.zeroGradients = checkGradient(Math.max(...norms), state.zeroGradients, iteration, objective.zeroGradientCure);
    state.iteration = iteration + 1;
    const done = state.iteration;

    const { policy, ...numbers } = result;
    const gradNorm = norms.reduce((total, norm) => total + norm, 0) / norms.length;
    let line: MetricsLine = { iteration: done, ...numbers, gradNorm, ...(policy && { policy }) };
    if (iteration === 0 && evaluation.every > 0) {
      hooks.note("scoring the base model on the held-out prompts");
      const base = await evaluator.base(state.parameters);
      line = { ...line, ...lookAtBase(base) };
      await run.writeFile(`samples/${sheetName(0)}`, await evaluator.sheet(base));
    }
    const isEvaluated = evaluation.every > 0 && (done % evaluation.every === 0 || done === iterations);
    if (isEvaluated) {
      const scored = await evaluator.tuned(resultOf(state));
      line = { ...line, ...lookAtTuned(scored, withLine(history, line), done, rules) };
      await run.writeFile(`samples/${sheetName(done)}`, await evaluator.sheet(scored));
    }
    history = withLine(history, line);
    if (isEvaluated) {
      const { trust } = state.beta;
      const rise = newestRise(history, rules.best.trained);
      state.beta = afterEvaluation(config.beta, state.beta, rise, parts.typicalDivergence);
      if (state.beta.trust < trust) hooks.note(`iteration ${done}: the trained reward has not risen significantly on the ${rise!.n} held-out prompts; automatic beta holds the model near its base until it has`);
      if (state.beta.trust > trust) hooks.note(`iteration ${done}: the trained reward has risen on the held-out prompts; automatic beta lets the model move again`);
    }
    await run.appendMetrics(line);
    await run.appendTimings({ iteration: done, seconds: (monotonicMs() - startedAt) / 1000, memoryBytes: process.memoryUsage.rss() });
    hooks.onIteration(line);

    const isWatchStop = config.watch.action === "stop" && line.watch?.state === "fired" && done < iterations;
    const isStopping = isWatchStop || (hooks.shouldStop() && done < iterations);
    if (done % checkpoint.every === 0 || done === iterations || isStopping || isEvaluated) {
      await run.checkpoint(done, (folder) => saveState(state, parts.layout, folder), { keep: checkpoint.keep, ...(history.best === undefined ? {} : { best: history.best }) });
    }
    if (isStopping) return isWatchStop ? "watch" : "asked";
    await letSignalsIn();
  }
  return "finished";
}

/** Says where to go on from after an error that no retry cures. */
export function explainStop(error: unknown, run: RunDirectory): unknown {
  if (!(error instanceof UsageError) || error.code !== "not-finite") return error;
  const kept = run.latest === undefined ? "there is no checkpoint yet" : `the last good checkpoint stays: ${run.latest.path}`;
  return new UsageError(error.code, `${error.message}; ${kept}`);
}
