import { resolve } from "node:path";
import { isRemoteName, type LocateOptions, pinWeights } from "../hub/locate-weights.ts";
import { worldName } from "../models/emoji-world.ts";
import { isAddress } from "../rewards/custom-reward.ts";
import { rewardNames, rewardPlaces } from "../rewards/open-reward.ts";
import type { MetricSetting } from "../config/train-config.ts";

/**
 * The name of a model or of weights that means the same from any folder and at any time: paths become absolute, repositories get their commit.
 * @throws UsageError as `pinWeights`
 */
export async function lastingName(name: string, fetching: LocateOptions): Promise<string> {
  if (name === worldName) return name;
  return isRemoteName(name) ? pinWeights(name, fetching) : resolve(name);
}

/** A metric's setting with lasting names; the published weights of a built-in reward are written out. @throws UsageError as `pinWeights` and `rewardPlaces` */
export async function lastingSetting(setting: MetricSetting, model: string, fetching: LocateOptions): Promise<MetricSetting> {
  if (!rewardNames.includes(setting.name)) {
    const { path } = setting;
    return path === undefined || isAddress(path) ? setting : { ...setting, path: resolve(path) };
  }
  const names: [string, string][] = [];
  for (const [place, name] of Object.entries(rewardPlaces(setting, model) ?? {})) {
    const own = setting[place as keyof MetricSetting];
    // The embedded world's weights have no place of their own to be remembered.
    if (typeof name === "string" && (own !== undefined || isRemoteName(name))) names.push([place, await lastingName(typeof own === "string" ? own : name, fetching)]);
  }
  return { ...setting, ...Object.fromEntries(names) };
}
