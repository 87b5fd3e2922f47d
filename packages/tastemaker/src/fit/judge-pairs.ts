import { clipLogitScale } from "@tastemaker/diffusion";
import { program } from "@tastemaker/tensor";
import { Progress } from "../cli/progress.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { oracleBackend } from "../platform/runtime.ts";
import { imageRewardStatistics } from "../rewards/blip-reward.ts";
import type { Reward } from "../rewards/reward.ts";
import { readPairPicture } from "./pair-pictures.ts";
import { fitScale, type JudgedPair } from "./pair-statistics.ts";
import type { Pair } from "./pairs.ts";

/** Pictures whose scores are kept; a picture is often in several pairs. */
const mostKept = 100_000;

/** What turns a difference of scores into the log of odds, and where it comes from. */
export interface MarginScale {
  readonly factor: number;
  /** `own`: the model was trained with it. `fitted`: the one under which these very labels are most likely. */
  readonly from: "own" | "fitted";
}

/** The factor that a reward was trained with, where it is known. */
async function ownScale({ name, unit, clip }: Reward): Promise<number | undefined> {
  if (unit === "logits") return 1;
  if (name === "image-reward") return imageRewardStatistics.std;
  if (name.startsWith("hpsv2") && clip !== undefined) {
    const executable = await oracleBackend().compile(program({ scale: clipLogitScale(clip.scope(), clip.config) }));
    const { scale } = await executable.run({});
    await executable.dispose();
    return scale!.data[0]!;
  }
  return undefined;
}

/**
 * What a reward says of pairs, by its reference path: one picture at a time.
 * @param signal Stops early. @returns One entry per pair that was judged, margins in logits.
 * @throws UsageError `picture-unreadable`, naming the row of the pair
 */
export async function judgePairs(reward: Reward, pairs: readonly Pair[], signal: AbortSignal): Promise<{ readonly judged: JudgedPair[]; readonly scale: MarginScale }> {
  const scores = new Map<string, number>();
  const scoreOf = async (pair: Pair, which: "first" | "second"): Promise<number> => {
    const { prompt, [which]: path } = pair;
    const key = reward.needsText ? JSON.stringify([path, prompt]) : path;
    const known = scores.get(key);
    if (known !== undefined) return known;
    const [score] = await reward.score([await readPairPicture(pair, which)], [prompt]);
    if (scores.size < mostKept) scores.set(key, score!);
    return score!;
  };
  const raw: JudgedPair[] = [];
  const progress = new Progress({ label: "judging pairs", total: pairs.length });
  try {
    for (const pair of pairs) {
      if (signal.aborted) break;
      const { label, probability } = pair;
      const margin = ((await scoreOf(pair, "first")) - (await scoreOf(pair, "second"))) * (reward.higherIsBetter === false ? -1 : 1);
      raw.push({ margin, label, probability });
      progress.update(raw.length);
      await letSignalsIn();
    }
  } finally {
    progress.finish();
  }
  const own = await ownScale(reward);
  const scale: MarginScale = own === undefined ? { factor: raw.length === 0 ? 1 : fitScale(raw), from: "fitted" } : { factor: own, from: "own" };
  return { judged: raw.map((pair) => ({ ...pair, margin: pair.margin * scale.factor })), scale };
}
