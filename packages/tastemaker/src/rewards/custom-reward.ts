import { existsSync, statSync } from "node:fs";
import { type Backend, nearestName, UsageError } from "@tastemaker/tensor";
import type { RewardSetting } from "../config/train-config.ts";
import { openEndpointReward } from "./endpoint-reward.ts";
import { openModuleReward } from "./module-reward.ts";
import { openOnnxReward } from "./onnx-reward.ts";
import type { Reward } from "./reward.ts";

/** What a reward of one's own can be: code, a network in a file, or somebody's server. */
export type CustomKind = "module" | "onnx" | "endpoint";

/** The kind that a path or an address stands for; undefined for anything else, such as a folder of weights. */
export function customKind(path: string): CustomKind | undefined {
  if (isAddress(path)) return "endpoint";
  if (/\.(?:ts|mts|js|mjs)$/i.test(path)) return "module";
  if (/\.onnx$/i.test(path)) return "onnx";
  return undefined;
}

/** Whether a path is an http(s) address, which must not be resolved like a file's. */
export function isAddress(path: string): boolean {
  return /^https?:\/\//i.test(path);
}

/** A custom reward's setting. */
export type CustomRewardSetting = Omit<RewardSetting, "weight" | "path"> & { readonly path: string };

const kinds = "a module (.ts, .mts, .js, .mjs), an .onnx file or an address (http://, https://)";

/**
 * Opens a reward of one's own by its path: a module is loaded and so run, an ONNX file is read, an endpoint is asked once.
 * @param builtIn Names of the built-in rewards, for messages.
 * @throws UsageError `reward-name`, `reward-path` and whatever the kind gives reason to
 */
export async function openCustomReward({ name, path, endpoint, onnx, vocabulary, clip }: CustomRewardSetting, backend: Backend, builtIn: readonly string[] = []): Promise<Reward> {
  // The name becomes part of inputs' and files' names.
  if (!/^[A-Za-z][\w-]{0,63}$/.test(name)) {
    throw new UsageError("reward-name", `reward: expected a name that begins with a letter and has up to 64 letters, digits, - and _, got ${JSON.stringify(name.slice(0, 80))} (at ${path})`);
  }
  const kind = customKind(path);
  if (endpoint !== undefined && kind !== "endpoint") throw new UsageError("reward-path", `reward ${name}: expected an http(s) address where "endpoint" is set, got ${path}`, 'leave out "endpoint"');
  if (onnx !== undefined && kind !== "onnx") throw new UsageError("reward-path", `reward ${name}: expected an .onnx file where "onnx" is set, got ${path}`, 'leave out "onnx"');
  if (vocabulary !== undefined || clip !== undefined) throw new UsageError("reward-path", `reward ${name}: expected no "${clip === undefined ? "vocabulary" : "clip"}", which belongs to built-in rewards (at ${path})`, "leave it out");
  if (kind === "endpoint") return openEndpointReward(name, path, endpoint);
  if (!existsSync(path)) throw new UsageError("reward-path", `reward ${name}: expected ${kinds}, got nothing (at ${path})`, "check the path");
  if (kind === undefined) {
    const what = statSync(path).isDirectory() ? "a folder" : "another kind of file";
    const nearest = nearestName(name, builtIn);
    throw new UsageError("reward-path", `reward ${name}: expected ${kinds}, got ${what} (at ${path})`, nearest === undefined ? `weights belong to a built-in reward: ${builtIn.join(", ")}` : `weights belong to a built-in reward: did you mean "${nearest}"?`);
  }
  if (!statSync(path).isFile()) throw new UsageError("reward-path", `reward ${name}: expected a file, got a folder (at ${path})`);
  return kind === "onnx" ? openOnnxReward(name, path, backend, onnx) : openModuleReward(name, path, backend);
}

/** Refuses what belongs to a reward of one's own beside a built-in name. @throws UsageError `reward-name`, `reward-path` */
export function refuseCustomSetting({ name, path, endpoint, onnx }: Pick<RewardSetting, "name" | "path" | "endpoint" | "onnx">): void {
  const kind = path === undefined ? undefined : customKind(path);
  if (kind === "module" || kind === "onnx") {
    throw new UsageError("reward-name", `reward: expected a name of its own for a reward of your own, got "${name}", which is built in (at ${path})`, `for example "my-${name}"`);
  }
  if (endpoint !== undefined) throw new UsageError("reward-path", `reward ${name}: expected an http(s) address as path where "endpoint" is set, got a built-in reward`, 'leave out "endpoint"');
  if (onnx !== undefined) throw new UsageError("reward-path", `reward ${name}: expected an .onnx file as path where "onnx" is set, got a built-in reward`, 'leave out "onnx"');
}
