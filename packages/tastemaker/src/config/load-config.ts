import { readFile } from "node:fs/promises";
import { defaultGuidanceScale } from "../models/default-guidance.ts";
import { worldName, worldTeacherName } from "../models/emoji-world.ts";
import { UsageError } from "@tastemaker/tensor";
import { storageError } from "../storage/storage-error.ts";
import { configError } from "./config-error.ts";
import { applyObjective, checkPolicy } from "./policy-setting.ts";
import { trainConfigSchema, type TrainConfig } from "./train-config.ts";

/** One setting given on the command line: its dotted path, its value and the option as the person typed it. */
export interface Override {
  readonly path: string;
  readonly value: unknown;
  readonly option: string;
}

/**
 * Parses `path=value` of `--set`; the value is JSON where it parses as JSON, else text.
 * @throws UsageError `option-invalid` without an equals sign or a path
 */
export function parseAssignment(text: string): Override {
  const at = text.indexOf("=");
  const path = text.slice(0, at).trim();
  if (at < 1 || path === "" || path.split(".").includes("")) {
    throw new UsageError("option-invalid", `--set: expected path=value, got "${text}"`, "for example --set learningRate=1e-4");
  }
  const raw = text.slice(at + 1).trim();
  let value: unknown = raw;
  try {
    value = JSON.parse(raw);
  } catch {
    // Not JSON: plain text such as kl or prompts.txt.
  }
  return { path, value, option: `--set ${path}` };
}

function assign(target: Record<string, unknown>, path: string, value: unknown): void {
  const keys = path.split(".");
  const last = keys.pop()!;
  let current: Record<string, unknown> = target;
  for (const key of keys) {
    const next = Object.hasOwn(current, key) ? current[key] : undefined;
    if (typeof next === "object" && next !== null) current = next as Record<string, unknown>;
    else {
      const made: Record<string, unknown> = {};
      Object.defineProperty(current, key, { value: made, enumerable: true, configurable: true, writable: true });
      current = made;
    }
  }
  Object.defineProperty(current, last, { value, enumerable: true, configurable: true, writable: true });
}

/**
 * Reads a JSON configuration file.
 * @throws UsageError `path-missing`, `config-invalid` when it is not a JSON object (with line and column where the parser knows them)
 */
export async function readConfigFile(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw storageError(error, "read", path);
  }
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const position = /position (\d+)/.exec(reason)?.[1];
    const before = position === undefined ? undefined : text.slice(0, Number(position)).split("\n");
    const where = before === undefined ? path : `${path}:${before.length}:${before.at(-1)!.length + 1}`;
    throw new UsageError("config-invalid", `configuration: expected JSON, got ${reason} (at ${where})`, "JSON has no comments and no comma after the last item");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError("config-invalid", `configuration: expected an object { ... }, got ${text.trim().slice(0, 40)} (at ${path})`, 'for example {"iterations": 100}');
  }
  return value as Record<string, unknown>;
}

/** Checks that need more than one setting. */
function checkTogether(config: TrainConfig, source: (path: string) => string): void {
  const fail = (message: string, hint: string): never => {
    throw new UsageError("config-invalid", `configuration: ${message}`, hint);
  };
  checkPolicy(config, source);
  const { timesteps, steps, backpropSteps, beta } = config;
  if (Array.isArray(timesteps)) {
    if (timesteps.length !== steps) fail(`expected ${steps} timesteps (one per step), got ${timesteps.length} (at ${source("timesteps")})`, "give steps the length of the list");
    const rising = timesteps.findIndex((value, index) => index > 0 && value >= timesteps[index - 1]!);
    if (rising > 0) fail(`expected falling timesteps, got ${timesteps[rising - 1]} then ${timesteps[rising]} (at ${source("timesteps")})`, "order them from noise to picture");
  }
  if (typeof backpropSteps === "number" && backpropSteps > steps) {
    fail(`expected backpropSteps from 1 to ${steps} (the sampling steps), got ${backpropSteps} (at ${source("backpropSteps")})`, "lower it or raise steps");
  }
  if (typeof backpropSteps === "string" && config.checkpointing === "none") {
    fail(`expected checkpointing step or block with backpropSteps ${backpropSteps}, got none (at ${source("checkpointing")})`, "the one program of `none` has a fixed number of steps; leave it out");
  }
  if (config.eta === 0 && config.divergence.kind !== "none") {
    fail(`expected divergence none with eta 0, got ${config.divergence.kind} (at ${source("divergence.kind")})`, "deterministic steps have no densities to compare; raise eta, or say --divergence none");
  }
  if (backpropSteps === "predicted" && config.divergence.kind !== "none") {
    fail(`expected divergence none with backpropSteps predicted, got ${config.divergence.kind} (at ${source("divergence.kind")})`, "the only step with gradient has no transition after it; say --divergence none");
  }
  if (typeof beta === "object" && "schedule" in beta && beta.schedule !== "constant" && beta.to === undefined) {
    fail(`expected "to" in a ${beta.schedule} schedule, got none (at ${source("beta")})`, "say beta at the last iteration");
  }
}

/** Evaluations during training: every `evaluation.every` iterations and after the last. */
export function plannedLooks({ iterations, evaluation: { every } }: Pick<TrainConfig, "iterations" | "evaluation">): number {
  return every === 0 ? 0 : Math.ceil(iterations / every);
}

/** Settings that are allowed but do not do what one may expect, in words. */
export function configWarnings(config: TrainConfig): string[] {
  const warnings: string[] = [];
  const { divergence, beta, steps, backpropSteps, iterations, ema, evaluation, watch } = config;
  const isWeighted = config.objective === "rocm" && beta !== 0;
  if (divergence.kind !== "none" && isWeighted && steps === 1) {
    warnings.push("steps is 1, so there is no transition and the divergence is always 0: beta does nothing");
  } else if (divergence.kind !== "none" && isWeighted && backpropSteps === 1 && config.model !== worldTeacherName) {
    warnings.push("backpropSteps is 1, so the divergence has no gradient: beta does nothing; use 2 or more");
  }
  if (divergence.kind === "none" && beta !== "auto" && isWeighted) warnings.push("divergence.kind is none, so beta does nothing");
  const looks = plannedLooks(config);
  if (watch.action === "stop" && looks < watch.looks) {
    warnings.push(`watch.action is stop, but the run has ${looks} evaluation${looks === 1 ? "" : "s"} and the watch needs ${watch.looks} in a row: it cannot stop anything; lower evaluation.every (now ${evaluation.every}) or watch.looks`);
  }
  if (ema > 0 && iterations * (1 - ema) < 1) warnings.push(`ema ${ema} averages over about ${Math.round(1 / (1 - ema))} iterations, longer than the run of ${iterations}: the exported adapter will lag far behind`);
  return warnings;
}

/**
 * The resolved configuration: defaults, then the file, then the command line.
 * @param file the content of a configuration file and its path for messages
 * @throws UsageError `config-unknown` (with the nearest name), `config-invalid`
 */
export function resolveTrainConfig(file: { readonly value: Record<string, unknown>; readonly path: string } | undefined, overrides: readonly Override[]): TrainConfig {
  const input = structuredClone(file?.value ?? {});
  const options = new Map<string, string>();
  for (const { path, value, option } of overrides) {
    assign(input, path, value);
    options.set(path, option);
  }
  const source = (path: string): string => {
    for (let prefix = path; prefix !== ""; prefix = prefix.slice(0, Math.max(0, prefix.lastIndexOf(".")))) {
      const option = options.get(prefix);
      if (option !== undefined) return prefix === path ? option : `${option}, setting ${path}`;
    }
    const part = [...options].find(([other]) => other.startsWith(`${path}.`));
    if (part !== undefined) return part[1];
    return file === undefined ? path : `${file.path}, setting ${path}`;
  };
  applyObjective(input, source);
  // Depends on another setting, so the schema cannot say it.
  const model = input["model"] ?? worldName;
  input["guidanceScale"] ??= defaultGuidanceScale(String(model));
  const parsed = trainConfigSchema.safeParse(input);
  if (!parsed.success) throw configError(parsed.error, trainConfigSchema, input, source);
  checkTogether(parsed.data, source);
  return parsed.data;
}
