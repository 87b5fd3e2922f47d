import { join } from "node:path";
import { type Backend, type Executable, type HostData, UsageError } from "@tastemaker/tensor";
import { encodeSafetensors, initialise, readSafetensorsHeader, readTensorFloat32, type TensorToStore } from "@tastemaker/diffusion";
import { Progress } from "../cli/progress.ts";
import { openNodeFile } from "../platform/node-files.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { monotonicMs } from "../storage/clock.ts";
import type { RunDirectory } from "../storage/run-directory.ts";
import { type AdamWState, copyParameters, createAdamW, type ParameterSet, updateAdamW, updateAverage } from "../train/adamw.ts";
import type { Phase, Stage } from "./stage.ts";

export interface PretrainPlan {
  /** Pictures to train on in all. */
  readonly samples: number;
  readonly seed: number;
  /** Stop early after this time, in milliseconds; the run can be continued. */
  readonly stopAfterMs?: number;
  /** Pictures between checkpoints. */
  readonly checkpointEvery: number;
  /** Pictures between sample sheets. */
  readonly sampleEvery: number;
}

interface TrainingState {
  seen: number;
  step: number;
  readonly parameters: ParameterSet;
  readonly average: ParameterSet;
  readonly target: ParameterSet | undefined;
  readonly optimizer: AdamWState;
}

const stateGroups = ["parameters", "average", "target", "first", "second"] as const;

function stateArrays(state: TrainingState): Record<(typeof stateGroups)[number], ParameterSet | undefined> {
  const { parameters, average, target, optimizer } = state;
  return { parameters, average, target, first: optimizer.first, second: optimizer.second };
}

async function saveState(state: TrainingState, path: string): Promise<void> {
  const tensors = new Map<string, TensorToStore>();
  for (const [group, arrays] of Object.entries(stateArrays(state))) {
    for (const [key, data] of arrays ?? []) tensors.set(`${group}/${key}`, { dtype: "F32", shape: [data.length], data });
  }
  const counters = new Map([["progress", JSON.stringify({ seen: state.seen, step: state.step, updates: state.optimizer.updates })]]);
  await writeFileAtomic(join(path, "state.safetensors"), encodeSafetensors(tensors, counters));
}

async function loadState(state: TrainingState, path: string): Promise<void> {
  const file = await openNodeFile(join(path, "state.safetensors"));
  const { tensors, metadata } = await readSafetensorsHeader(file);
  for (const [group, arrays] of Object.entries(stateArrays(state))) {
    for (const [key, data] of arrays ?? []) {
      const entry = tensors.get(`${group}/${key}`);
      if (!entry || entry.shape[0] !== data.length) {
        throw new UsageError("state-mismatch", `training state: expected ${group}/${key} with ${data.length} values, got ${entry ? `[${entry.shape}]` : "nothing"} (in ${file.name})`, "start a new run for changed settings");
      }
      data.set(await readTensorFloat32(file, entry));
    }
  }
  const progress = JSON.parse(metadata.get("progress") ?? "{}") as { seen: number; step: number; updates: number };
  state.seen = progress.seen;
  state.step = progress.step;
  state.optimizer.updates = progress.updates;
}

/** Linear warm-up, then a cosine down to 2 % of the peak at the end. */
export function learningRateAt(stage: Pick<Stage, "learningRate" | "warmupSteps">, step: number, done: number): number {
  const warm = Math.min(1, (step + 1) / Math.max(1, stage.warmupSteps));
  return stage.learningRate * warm * (0.02 + 0.98 * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, done))));
}

/** The moving average starts fast, so that early sheets show something: min(decay, (1 + n)/(10 + n)). */
const averageDecayAt = (decay: number, step: number): number => Math.min(decay, (1 + step) / (10 + step));

/**
 * Trains a stage in a run directory, from its newest checkpoint or from nothing, until the plan's pictures are seen, the time is over
 * or `signal` aborts. Every step is a pure function of the state, so an interrupted run continues to the same numbers.
 *
 * @returns true when finished (the model's files are then in the run directory under `model/`).
 */
export async function runPretraining(
  stage: Stage,
  plan: PretrainPlan,
  run: RunDirectory,
  backend: Backend,
  { signal, note }: { readonly signal: AbortSignal; note(text: string): void },
): Promise<boolean> {
  const initial = initialise(stage.parameters, plan.seed);
  for (const [key, values] of stage.start ?? []) initial.get(key)?.set(values);
  const state: TrainingState = {
    seen: 0,
    step: 0,
    parameters: initial,
    average: copyParameters(initial),
    target: stage.targetDecay === undefined ? undefined : copyParameters(initial),
    optimizer: createAdamW(initial),
  };
  if (run.latest) await loadState(state, run.latest.path);
  const startedAt = monotonicMs();
  const progress = new Progress({ label: stage.name, total: plan.samples, initial: state.seen });
  let active: { readonly phase: Phase; readonly executable: Executable } | undefined;
  let nextCheckpoint = state.seen + plan.checkpointEvery;
  let nextSample = Math.floor(state.seen / plan.sampleEvery) * plan.sampleEvery + plan.sampleEvery;
  const checkpoint = (): Promise<unknown> => run.checkpoint(state.step, (path) => saveState(state, path), { keep: 1 });
  const sample = async (): Promise<void> => {
    const result = await stage.sample?.(state.average);
    if (!result) return;
    if (result.png) await run.writeFile(`samples/${String(state.seen).padStart(8, "0")}.png`, result.png);
    note(`${stage.name} ${state.seen}: ${Object.entries(result.scores).map(([name, value]) => `${name} ${value.toFixed(4)}`).join(", ")}`);
    await run.appendTimings({ seen: state.seen, seconds: (monotonicMs() - startedAt) / 1000, ...result.scores });
  };
  try {
    while (state.seen < plan.samples) {
      const phase = stage.phases.find(({ until }) => state.seen < until * plan.samples) ?? stage.phases.at(-1)!;
      if (active?.phase !== phase) {
        await active?.executable.dispose();
        active = { phase, executable: await backend.compile(phase.program) };
      }
      const feeds: Record<string, HostData> = { ...(await phase.feeds(state.seen, state.step)) };
      for (const { name } of phase.program.inputs) {
        const value = name.startsWith("target:") ? state.target?.get(name.slice(7)) : state.parameters.get(name);
        if (value && !(name in feeds)) feeds[name] = value;
      }
      const outputs = await active.executable.run(feeds);
      const scalars = Object.fromEntries(Object.entries(outputs).filter(([name]) => !name.startsWith("grad:")).map(([name, { data }]) => [name, data[0]!]));
      if (!Number.isFinite(scalars["loss"])) {
        throw new UsageError("not-finite", `${stage.name}: expected a finite loss, got ${scalars["loss"]} (at step ${state.step})`, "lower the learning rate and resume from the last checkpoint");
      }
      const gradients = new Map(Object.entries(outputs).filter(([name]) => name.startsWith("grad:")).map(([name, { data }]) => [name.slice(5), data as Float32Array]));
      const trained = new Map([...state.parameters].filter(([key]) => gradients.has(key)));
      const learningRate = learningRateAt(stage, state.step, state.seen / plan.samples);
      const gradNorm = updateAdamW(trained, gradients, state.optimizer, learningRate, stage.optimizer);
      updateAverage(state.average, state.parameters, averageDecayAt(stage.averageDecay, state.step));
      if (state.target) updateAverage(state.target, state.parameters, averageDecayAt(stage.targetDecay!, state.step));
      state.seen += phase.batch;
      state.step += 1;
      await run.appendMetrics({ step: state.step, seen: state.seen, ...scalars, gradNorm, learningRate });
      progress.update(Math.min(state.seen, plan.samples), `loss ${scalars["loss"]!.toFixed(4)}`);
      const isTimeOver = plan.stopAfterMs !== undefined && monotonicMs() - startedAt > plan.stopAfterMs;
      if (state.seen >= nextCheckpoint || signal.aborted || isTimeOver || state.seen >= plan.samples) {
        await checkpoint();
        nextCheckpoint = state.seen + plan.checkpointEvery;
      }
      if (state.seen >= nextSample) {
        await sample();
        nextSample += plan.sampleEvery;
      }
      if (signal.aborted || isTimeOver) return false;
      // onnxruntime's run() blocks: let signals and timers in between steps.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await sample();
    for (const [path, bytes] of await stage.finish(state.average)) await run.writeFile(`model/${path}`, bytes);
    return true;
  } finally {
    progress.finish();
    await active?.executable.dispose();
  }
}
