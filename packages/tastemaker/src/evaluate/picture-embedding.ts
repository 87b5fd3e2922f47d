import { existsSync } from "node:fs";
import { isWorldModel, worldPart } from "../models/emoji-world.ts";
import { type ClipNetwork, openClipNetwork } from "../rewards/clip-network.ts";
import type { Reward } from "../rewards/reward.ts";
import type { MetricSetting } from "../config/train-config.ts";
import type { OpenedMetric } from "./metric-list.ts";

/** The CLIP in whose space diversity and distance are measured, and the setting of the metric that it belongs to. */
export interface EmbeddingSpace {
  readonly clip: ClipNetwork;
  readonly setting: MetricSetting;
}

/**
 * The CLIP for pictures of a model: the embedded world's own; with other models that of `clip-score`, else that of the first metric that has one. Undefined when there is none.
 * @throws UsageError whatever the files give reason to
 */
export async function findEmbeddingSpace(model: string, metrics: readonly OpenedMetric[]): Promise<EmbeddingSpace | undefined> {
  const own = worldPart("clip");
  if (isWorldModel(model) && existsSync(own)) return { clip: await openClipNetwork(own), setting: { name: "embedding" } };
  const clipOf = ({ metric }: OpenedMetric): ClipNetwork | undefined => (metric as Partial<Reward>).clip;
  const found = metrics.find((one) => one.setting.name === "clip-score" && clipOf(one) !== undefined) ?? metrics.find((one) => clipOf(one) !== undefined);
  return found && { clip: clipOf(found)!, setting: found.setting };
}
