import type { Command } from "commander";
import type { Override } from "../config/load-config.ts";
import type { TrainConfig } from "../config/train-config.ts";
import { collect } from "./help.ts";
import { presetNames, presetOverrides } from "../config/presets.ts";
import { jsonOrText } from "./json-or-text.ts";

/** Options of every command that takes a training configuration, as commander parses them. */
export interface TrainOptions {
  readonly config?: string;
  readonly set?: readonly string[];
  readonly reward?: readonly string[];
  readonly preset?: string;
  readonly helpConfig?: true;
  readonly [flag: string]: unknown;
}

type FlagKind = "text" | "value" | "beta";

/** Flags that stand for one setting: flag, value name, setting, kind, help. */
const settingFlags: readonly (readonly [flag: string, value: string, path: string, kind: FlagKind, help: string])[] = [
  ["--objective", "name", "objective", "text", "rocm, or one that needs no gradient of the reward: rlcm, ddpo, dpok, d3po or rebel"],
  ["--model", "name", "model", "text", "base model: emoji, emoji-teacher, a folder in the diffusers layout, or owner/name of a repository on the hub"],
  ["--prompts", "source", "prompts", "text", "world:train, world:held-out or a text file with a prompt per line"],
  ["--divergence", "kind", "divergence.kind", "text", "none, kl, hellinger, js, js-sampled or fisher"],
  ["--beta", "beta", "beta", "beta", "a number, auto, target:X, linear:FROM:TO or cosine:FROM:TO"],
  ["--steps", "n", "steps", "value", "sampling steps of a picture, 1 to 50"],
  ["--size", "pixels", "imageSize", "value", "side of the pictures; default: what the model was trained for"],
  ["--guidance", "w", "guidanceScale", "value", "guidance scale, at least 1"],
  ["--iterations", "n", "iterations", "value", "updates of the adapter"],
  ["--learning-rate", "rate", "learningRate", "value", "step size of AdamW"],
  ["--batch-size", "n", "batchSize", "value", "prompts computed together"],
  ["--accumulation", "n", "accumulation", "value", "batches per update"],
  ["--rank", "r", "lora.rank", "value", "rank of the adapter"],
  ["--checkpointing", "mode", "checkpointing", "text", "auto, none (fast), step (little memory) or block (least)"],
  ["--seed", "n", "seed", "value", "equal seeds give equal runs"],
  ["--threads", "n", "threads", "value", "threads for the arithmetic; 0 uses all cores"],
  ["--provider", "name", "provider", "text", "cpu, cuda or webgpu"],
  ["--out", "folder", "out", "text", "run directory to create"],
];

function camelCase(flag: string): string {
  return flag.slice(2).replaceAll(/-([a-z])/g, (_match, letter: string) => letter.toUpperCase());
}

/** Adds `--config`, `--set`, `--reward`, `--help-config` and the main settings as flags. */
export function addTrainOptions(command: Command): Command {
  command.option("-c, --config <file>", "configuration file (JSON); flags override it").option("--set <path=value>", "any setting, e.g. --set lora.alpha=64 (repeatable)", collect);
  command.option("--reward <name[:weight][=path]>", "reward to raise; with a path, one of your own (repeatable, or separated by commas)", collect);
  command.option("--preset <name>", `settings of a published method on the objective rocm: ${presetNames.join(", ")}`);
  for (const [flag, value, , , help] of settingFlags) command.option(`${flag} <${value}>`, help);
  return command.option("--help-config", "explain every setting and stop");
}

/** `target:0.05` → `{target: 0.05}`, `linear:1:0.1` → `{schedule, from, to}`; anything else is judged by the schema. */
function parseBeta(text: string): unknown {
  const [head, ...rest] = text.split(":");
  if (head === "target" && rest.length === 1) return { target: jsonOrText(rest[0]!) };
  if ((head === "linear" || head === "cosine") && rest.length === 2) return { schedule: head, from: jsonOrText(rest[0]!), to: jsonOrText(rest[1]!) };
  return jsonOrText(text);
}

/**
 * The resolved configuration: defaults, then `presets` and `--preset`, then `--config`, then flags, then `--set`.
 * @throws UsageError for unknown or wrong settings and presets, naming the file or option
 */
export async function resolveTrainOptions(options: TrainOptions, presets: readonly Override[] = []): Promise<TrainConfig> {
  const { parseAssignment, readConfigFile, resolveTrainConfig } = await import("../config/load-config.ts");
  const overrides: Override[] = [];
  for (const [flag, , path, kind] of settingFlags) {
    const text = options[camelCase(flag)];
    if (typeof text !== "string") continue;
    overrides.push({ path, option: flag, value: kind === "text" ? text : kind === "beta" ? parseBeta(text) : jsonOrText(text) });
  }
  if (options.reward !== undefined) {
    const { parseRewards } = await import("./parse-rewards.ts");
    overrides.push({ path: "rewards", option: "--reward", value: parseRewards(options.reward) });
  }
  overrides.push(...(options.set ?? []).map(parseAssignment));
  const file = options.config === undefined ? undefined : { value: await readConfigFile(options.config), path: options.config };
  const inFile = (path: string): boolean => path.split(".").reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], file?.value) !== undefined;
  const own = options.preset === undefined ? [] : presetOverrides(options.preset);
  return resolveTrainConfig(file, [...[...presets, ...own].filter(({ path }) => !inFile(path)), ...overrides]);
}

/** The manual that `--help-config` prints. */
export async function trainManual(): Promise<string> {
  const [{ describeConfig }, { trainConfigSchema }] = await Promise.all([import("../config/describe-config.ts"), import("../config/train-config.ts")]);
  return `Settings of a configuration file (JSON). On the command line: --set path=value.\n\n${describeConfig(trainConfigSchema)}`;
}
