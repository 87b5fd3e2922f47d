import { existsSync } from "node:fs";
import { type Backend, unknownNameError, UsageError } from "@tastemaker/tensor";
import type { RewardSetting } from "../config/train-config.ts";
import { worldName, worldPart } from "../models/emoji-world.ts";
import { openAestheticReward } from "./aesthetic-reward.ts";
import { openClipReward } from "./clip-reward.ts";
import type { Reward } from "./reward.ts";

/** Every reward: how it is opened and where the embedded world keeps its weights. To add one, add a row. */
const rewards: Readonly<Record<string, { readonly world?: string; open(path: string, backend: Backend): Promise<Reward> }>> = {
  "clip-score": { world: worldPart("clip"), open: (path, backend) => openClipReward("clip-score", path, backend) },
  "pick-score": { open: (path, backend) => openClipReward("pick-score", path, backend) },
  aesthetic: { world: worldPart("aesthetic"), open: openAestheticReward },
};

/** Names of all rewards. */
export const rewardNames: readonly string[] = Object.keys(rewards);

/**
 * Opens a reward by name: with `path`, the weights there; without, those of the embedded world.
 * @throws UsageError `unknown-name`, `reward-weights-missing` and whatever the files give reason to
 */
export async function openReward({ name, path }: Pick<RewardSetting, "name" | "path">, backend: Backend): Promise<Reward> {
  const found = Object.hasOwn(rewards, name) ? rewards[name] : undefined;
  if (found === undefined) throw unknownNameError("reward", name, rewardNames);
  const location = path ?? found.world;
  if (location === undefined) {
    throw new UsageError("reward-weights-missing", `reward ${name}: expected the folder of its weights, got none (the embedded world has no such reward)`, `say where they are: {"name": "${name}", "path": FOLDER}`);
  }
  if (!existsSync(location)) {
    const hint = path === undefined ? "the embedded world's weights are not built; run `npm run world`" : "check the path";
    throw new UsageError("reward-weights-missing", `reward ${name}: expected a folder with its weights, got nothing (at ${location})`, hint);
  }
  return found.open(location, backend);
}

/** The rewards of the embedded world that are not trained here, to be shown beside those that are; none for other models. */
export async function openOtherRewards(model: string, trained: readonly string[], backend: Backend): Promise<Reward[]> {
  if (model !== worldName) return [];
  const others = Object.entries(rewards).filter(([name, { world }]) => !trained.includes(name) && world !== undefined && existsSync(world));
  return Promise.all(others.map(([, other]) => other.open(other.world!, backend)));
}
