import { join } from "node:path";
import { type Backend, type Executable, type HostData, type HostTensor, UsageError } from "@tastemaker/tensor";
import { encodeSafetensors, initialise, readSafetensorsHeader, readTensorFloat32, type TensorToStore } from "@tastemaker/diffusion";
import { Progress } from "../cli/progress.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { openNodeFile } from "../platform/node-files.ts";
import { threadBackend } from "../platform/runtime.ts";
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
  /**
   * Micro-batches of a phase's size per step, each computed on a core of its own; their gradients are averaged. Small models gain much:
   * two cores on two micro-batches are faster than two cores on one.
   */
  readonly workers: number;
}

/** A phase ready to run: one executable per micro-batch. */
interface ActivePhase {
  readonly phase: Phase;
  readonly executables: readonly Executable[];
  /** Feeds of the step that is next, being prepared while the one before runs. */
  next: Promise<Record<string, HostData>[]> | undefined;
}

type StepOutputs = Record<string, HostTensor>;

/** Averages the gradients of the micro-batches into the first one's arrays, in their order, and the scalars. */
function averageOutputs(parts: readonly StepOutputs[]): { scalars: Record<string, number>; gradients: Map<string, Float32Array> } {
  const [first] = parts;
  const scalars: Record<string, number> = {};
  const gradients = new Map<string, Float32Array>();
  for (const [name, { data }] of Object.entries(first!)) {
    if (!name.startsWith("grad:")) {
      scalars[name] = parts.reduce((total, part) => total + part[name]!.data[0]!, 0) / parts.length;
      continue;
    }
    const sum = data as Float32Array;
    for (const part of parts.slice(1)) {
      const other = part[name]!.data;
      for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + other[i]!;
    }
    if (parts.length > 1) for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! / parts.length;
    gradients.set(name.slice(5), sum);
  }
  return { scalars, gradients };
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

/** Linear warm-up (at most 5 % of the training), then a cosine down to 2 % of the peak at the end. `done` is the share of the training, 0..1. */
export function learningRateAt(stage: Pick<Stage, "learningRate" | "warmupSteps">, step: number, done: number): number {
  const warm = Math.min(1, Math.max((step + 1) / Math.max(1, stage.warmupSteps), done / 0.05));
  return stage.learningRate * warm * (0.02 + 0.98 * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, done))));
}

/** A copy in memory that threads share, so that handing it to them costs nothing. */
function toShared(values: Float32Array): Float32Array<ArrayBufferLike> {
  const shared = new Float32Array(new SharedArrayBuffer(values.byteLength));
  shared.set(values);
  return shared;
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
  const initial = new Map([...initialise(stage.parameters, plan.seed)].map(([key, values]) => [key, plan.workers > 1 ? toShared(values) : values]));
  for (const [key, values] of stage.start ?? []) {
    const own = initial.get(key);
    if (own && own.length !== values.length) {
      throw new UsageError("start-mismatch", `${stage.name}: expected ${own.length} values of ${key} to begin with, got ${values.length}`, "the weights belong to another configuration");
    }
    own?.set(values);
  }
  const state: TrainingState = {
    seen: 0,
    step: 0,
    parameters: initial,
    average: copyParameters(initial),
    target: stage.targetDecay === undefined ? undefined : new Map([...initial].map(([key, values]) => [key, toShared(values)])),
    optimizer: createAdamW(initial),
  };
  if (run.latest) await loadState(state, run.latest.path);
  const startedAt = monotonicMs();
  const progress = new Progress({ label: stage.name, total: plan.samples, initial: state.seen });
  let active: ActivePhase | undefined;
  const disposeActive = async (): Promise<void> => {
    for (const executable of active?.executables ?? []) await executable.dispose();
  };
  const feedsAt = (phase: Phase, seen: number, step: number): Promise<Record<string, HostData>[]> =>
    Promise.all(Array.from({ length: plan.workers }, (_, worker) => phase.feeds(seen + worker * phase.batch, step * plan.workers + worker)));
  let nextCheckpoint = state.seen + plan.checkpointEvery;
  const afterSample = (): number => Math.floor(state.seen / plan.sampleEvery) * plan.sampleEvery + plan.sampleEvery;
  let nextSample = afterSample();
  const checkpoint = (): Promise<unknown> => run.checkpoint(state.step, (path) => saveState(state, path), { keep: 1 });
  let sampledAt: number | undefined;
  const sample = async (): Promise<void> => {
    if (sampledAt === state.seen) return;
    sampledAt = state.seen;
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
        await disposeActive();
        const compiler = plan.workers > 1 ? threadBackend() : backend;
        active = { phase, executables: await Promise.all(Array.from({ length: plan.workers }, () => compiler.compile(phase.program))), next: undefined };
      }
      const feeds = (await active.next) ?? (await feedsAt(phase, state.seen, state.step));
      const values: Record<string, HostData> = {};
      for (const { name } of phase.program.inputs) {
        const value = name.startsWith("target:") ? state.target?.get(name.slice(7)) : state.parameters.get(name);
        if (value) values[name] = value;
      }
      const running = Promise.all(active.executables.map((executable, worker) => executable.run({ ...values, ...feeds[worker] })));
      const batch = phase.batch * plan.workers;
      active.next = plan.workers > 1 ? feedsAt(phase, state.seen + batch, state.step + 1) : undefined;
      const { scalars, gradients } = averageOutputs(await running);
      if (!Number.isFinite(scalars["loss"])) {
        throw new UsageError("not-finite", `${stage.name}: expected a finite loss, got ${scalars["loss"]} (at step ${state.step})`, "lower the learning rate and resume from the last checkpoint");
      }
      const trained = new Map([...state.parameters].filter(([key]) => gradients.has(key)));
      const learningRate = learningRateAt(stage, state.step, state.seen / plan.samples);
      const gradNorm = updateAdamW(trained, gradients, state.optimizer, learningRate, stage.optimizer);
      updateAverage(state.average, state.parameters, averageDecayAt(stage.averageDecay, state.step));
      if (state.target) updateAverage(state.target, state.parameters, averageDecayAt(stage.targetDecay!, state.step));
      state.seen += batch;
      state.step += 1;
      await run.appendMetrics({ step: state.step, seen: state.seen, ...scalars, gradNorm, learningRate });
      progress.update(Math.min(state.seen, plan.samples), `loss ${scalars["loss"]!.toFixed(4)}`);
      // Before the checkpoint, so that what it writes is not lost to a run that goes on from there.
      if (state.seen >= nextSample) {
        await sample();
        nextSample = afterSample();
      }
      const isTimeOver = plan.stopAfterMs !== undefined && monotonicMs() - startedAt > plan.stopAfterMs;
      if (state.seen >= nextCheckpoint || signal.aborted || isTimeOver || state.seen >= plan.samples) {
        await checkpoint();
        nextCheckpoint = state.seen + plan.checkpointEvery;
      }
      if (signal.aborted || isTimeOver) return false;
      await letSignalsIn();
    }
    await sample();
    for (const [path, bytes] of await stage.finish(state.average)) await run.writeFile(`model/${path}`, bytes);
    return true;
  } finally {
    progress.finish();
    await disposeActive();
  }
}
