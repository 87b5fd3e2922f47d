import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { CommandContext } from "../../cli/command-context.ts";
import type { FitKind, RewardFitOptions } from "../../cli/commands/reward.ts";
import { runRewardFit } from "../../fit/fit-command.ts";
import { worldFolder } from "../../models/emoji-world.ts";

/** One training of a preference reward; what is not said is the default of `tastemaker reward fit`. */
type Fit = Required<Pick<RewardFitOptions, "picturesSeen" | "learningRate" | "trainLayers" | "seed">>;

/** How each of the world's preference rewards is fitted: the first training begins with the world's CLIP or BLIP, each other one with what the one before made. */
export const rewardRecipe: Readonly<Record<Exclude<FitKind, "aesthetic">, readonly Fit[]>> = {
  "pick-score": [{ picturesSeen: 160_000, learningRate: 5e-4, trainLayers: 3, seed: 1 }],
  hpsv2: [{ picturesSeen: 96_000, learningRate: 5e-4, trainLayers: 4, seed: 2 }],
  "image-reward": [
    { picturesSeen: 96_000, learningRate: 5e-4, trainLayers: 3, seed: 3 },
    { picturesSeen: 64_000, learningRate: 3e-4, trainLayers: 3, seed: 4 },
  ],
};

/**
 * Fits the world's preference rewards to its preference set, or goes on where the last call stopped, and copies them into the world.
 * @returns false when Ctrl-C stopped it
 */
export async function fitWorldRewards(preferences: string, build: string, threads: number, context: CommandContext): Promise<boolean> {
  for (const [kind, fits] of Object.entries(rewardRecipe) as [keyof typeof rewardRecipe, readonly Fit[]][]) {
    let from = "emoji";
    for (const [index, settings] of fits.entries()) {
      const out = join(build, index === 0 ? kind : `${kind}-${index + 1}`);
      if (!existsSync(join(out, "fit.json"))) {
        await runRewardFit({ kind, from, pairs: join(preferences, "pairs.csv"), heldOut: join(preferences, "pairs-held-out.csv"), heldOutShare: 0.1, out, batchSize: 32, weightDecay: 0.2, mirror: true, threads, workers: 1, ...settings }, context);
      }
      if (!existsSync(join(out, "fit.json"))) return false;
      from = out;
    }
    await mkdir(join(worldFolder, kind), { recursive: true });
    const files = (await readdir(from, { withFileTypes: true })).filter((entry) => entry.isFile());
    for (const { name } of files) await copyFile(join(from, name), join(worldFolder, kind, name));
  }
  return true;
}
