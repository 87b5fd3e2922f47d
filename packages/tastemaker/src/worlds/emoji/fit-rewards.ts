import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { CommandContext } from "../../cli/command-context.ts";
import type { FitKind, RewardFitOptions } from "../../cli/commands/reward.ts";
import { runRewardFit } from "../../fit/fit-command.ts";
import { worldFolder } from "../../models/emoji-world.ts";

/** How each of the world's preference rewards is fitted; what is not said is the default of `tastemaker reward fit`. */
export const rewardRecipe: Readonly<Record<Exclude<FitKind, "aesthetic">, Pick<RewardFitOptions, "picturesSeen" | "learningRate" | "trainLayers" | "seed">>> = {
  "pick-score": { picturesSeen: 160_000, learningRate: 5e-4, trainLayers: 3, seed: 1 },
  hpsv2: { picturesSeen: 96_000, learningRate: 5e-4, trainLayers: 4, seed: 2 },
  "image-reward": { picturesSeen: 96_000, learningRate: 5e-4, trainLayers: 3, seed: 3 },
};

/**
 * Fits the world's preference rewards to its preference set, or goes on where the last call stopped, and copies them into the world.
 * @returns false when Ctrl-C stopped it
 */
export async function fitWorldRewards(preferences: string, build: string, threads: number, context: CommandContext): Promise<boolean> {
  for (const [kind, settings] of Object.entries(rewardRecipe) as [keyof typeof rewardRecipe, Omit<Partial<RewardFitOptions>, "seed"> & { seed: number }][]) {
    const out = join(build, kind);
    if (!existsSync(join(out, "fit.json"))) {
      await runRewardFit({ kind, from: "emoji", pairs: join(preferences, "pairs.csv"), heldOut: join(preferences, "pairs-held-out.csv"), heldOutShare: 0.1, out, batchSize: 32, weightDecay: 0.2, mirror: true, threads, workers: 1, ...settings }, context);
    }
    if (!existsSync(join(out, "fit.json"))) return false;
    await mkdir(join(worldFolder, kind), { recursive: true });
    const files = (await readdir(out, { withFileTypes: true })).filter((entry) => entry.isFile());
    for (const { name } of files) await copyFile(join(out, name), join(worldFolder, kind, name));
  }
  return true;
}
