import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeSafetensors, readSafetensorsHeader, readTensorFloat32, type TensorToStore } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import { adapterFileName, type AdapterLayout, encodeAdapter, initialAdapter } from "../models/adapter.ts";
import { openNodeFile } from "../platform/node-files.ts";
import { type AdamWState, copyParameters, createAdamW, type ParameterSet } from "./adamw.ts";
import type { BetaState } from "./beta-controller.ts";
import { type PromptStatistics, statisticsFromJson, statisticsToJson } from "./prompt-statistics.ts";
import type { ValueState } from "./value-baseline.ts";

/** Everything that one iteration hands to the next. */
export interface TrainState {
  /** Iterations finished. */
  iteration: number;
  /** The adapter, by `<module>.lora_A.weight` and `.lora_B.weight`; updated in place. */
  readonly parameters: ParameterSet;
  /** Moving average of the adapter; undefined when the setting is off. */
  readonly average: ParameterSet | undefined;
  readonly optimizer: AdamWState;
  beta: BetaState;
  /** Last rewards of every prompt, for the advantages of policy objectives; empty otherwise. */
  statistics: PromptStatistics;
  /** The learned value baseline; undefined where the setting is off. */
  readonly value: ValueState | undefined;
  /** Iterations in a row whose gradient was exactly zero. */
  zeroGradients: number;
}

const tensorsFile = "state.safetensors";
const countersFile = "state.json";

/** The state before the first iteration. */
export function initialState(layout: AdapterLayout, options: { readonly seed: number; readonly ema: number; readonly beta: BetaState; readonly value?: ValueState | undefined }): TrainState {
  const parameters = initialAdapter(layout, options.seed);
  return {
    iteration: 0,
    parameters,
    average: options.ema > 0 ? copyParameters(parameters) : undefined,
    optimizer: createAdamW(parameters),
    beta: options.beta,
    statistics: new Map(),
    value: options.value,
    zeroGradients: 0,
  };
}

/** What is evaluated and exported: the average where there is one. */
export function resultOf(state: TrainState): ParameterSet {
  return state.average ?? state.parameters;
}

function groupsOf(state: TrainState): [group: string, arrays: ParameterSet][] {
  const { parameters, average, optimizer, value } = state;
  const groups: [string, ParameterSet | undefined][] = [["parameters", parameters], ["first", optimizer.first], ["second", optimizer.second], ["average", average], ["value", value?.parameters], ["value-first", value?.optimizer.first], ["value-second", value?.optimizer.second]];
  return groups.flatMap(([group, arrays]) => (arrays === undefined ? [] : [[group, arrays] as [string, ParameterSet]]));
}

/** Writes the state into a checkpoint's folder: the adapter as diffusers reads it, and everything else exactly. */
export async function saveState(state: TrainState, layout: AdapterLayout, folder: string): Promise<void> {
  const tensors = new Map<string, TensorToStore>();
  for (const [group, arrays] of groupsOf(state)) {
    for (const [name, data] of arrays) tensors.set(`${group}/${name}`, { dtype: "F32", shape: [data.length], data });
  }
  const { iteration, beta, zeroGradients, optimizer, statistics, value } = state;
  await writeFile(join(folder, adapterFileName), encodeAdapter(layout, resultOf(state)));
  await writeFile(join(folder, tensorsFile), encodeSafetensors(tensors));
  await writeFile(join(folder, countersFile), `${JSON.stringify({ iteration, updates: optimizer.updates, beta, zeroGradients, ...(statistics.size > 0 && { statistics: statisticsToJson(statistics) }), ...(value && { value: { updates: value.optimizer.updates, scale: value.scale } }) })}\n`);
}

/**
 * Reads a checkpoint's folder into a state of the same layout.
 * @throws UsageError `state-mismatch` when the checkpoint belongs to other settings
 */
export async function loadState(state: TrainState, folder: string, limits: { readonly statisticsBuffer: number }): Promise<void> {
  const file = await openNodeFile(join(folder, tensorsFile));
  const { tensors } = await readSafetensorsHeader(file);
  for (const [group, arrays] of groupsOf(state)) {
    for (const [name, data] of arrays) {
      const entry = tensors.get(`${group}/${name}`);
      if (entry?.shape[0] !== data.length) {
        throw new UsageError("state-mismatch", `checkpoint: expected ${group}/${name} with ${data.length} numbers, got ${entry === undefined ? "nothing" : `[${entry.shape.join(", ")}]`} (at ${file.name})`, "the checkpoint belongs to a run with other settings");
      }
      data.set(await readTensorFloat32(file, entry));
    }
  }
  const counters = JSON.parse(await readFile(join(folder, countersFile), "utf8")) as { iteration: number; updates: number; beta: BetaState; zeroGradients: number; statistics?: unknown; value?: { updates: number; scale?: ValueState["scale"] } };
  state.iteration = counters.iteration;
  state.optimizer.updates = counters.updates;
  // Checkpoints from before automatic beta looked at evaluations have no trust.
  state.beta = { ...state.beta, ...counters.beta };
  state.zeroGradients = counters.zeroGradients;
  if (state.value !== undefined && counters.value !== undefined) {
    state.value.optimizer.updates = counters.value.updates;
    state.value.scale = counters.value.scale;
  }
  if (counters.statistics !== undefined) state.statistics = statisticsFromJson(counters.statistics, { buffer: limits.statisticsBuffer }, join(folder, countersFile));
}
