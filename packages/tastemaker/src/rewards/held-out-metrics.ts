import { type Backend, unknownNameError, UsageError } from "@tastemaker/tensor";
import type { MetricSetting, RewardSetting, TrainConfig } from "../config/train-config.ts";
import type { LocateOptions } from "../hub/locate-weights.ts";
import { isWorldModel } from "../models/emoji-world.ts";
import { openOtherRewards, openReward, rewardNames, rewardPlaces } from "./open-reward.ts";
import type { Metric } from "./reward.ts";
import { openWorldMetric, openWorldMetrics, worldMetricNames } from "./world-metrics.ts";

/** The metrics that a configuration names, as settings; none where it leaves the choice to the model. */
export function metricSettings({ evaluation }: Pick<TrainConfig, "evaluation">): MetricSetting[] {
  return (evaluation.metrics ?? []).map((metric) => (typeof metric === "string" ? { name: metric } : metric));
}

export interface HeldOutContext {
  /** Name of the base model. */
  readonly model: string;
  readonly trained: readonly RewardSetting[];
  readonly prompts: readonly string[];
}

async function requireWorldMetric(name: string, prompts: readonly string[], backend: Backend): Promise<Metric> {
  const found = await openWorldMetric(name, prompts, backend);
  if (found !== undefined) return found;
  throw new UsageError("metric-unfit", `evaluation.metrics: expected held-out prompts of the emoji world's grammar for "${name}", got "${prompts[0] ?? ""}" and others`, "leave the metric out, or evaluate on world:held-out");
}

/**
 * Opens what an evaluation measures beside the trained rewards. Without a setting: all that comes with the model. A built-in metric that
 * shares its name with a trained reward must have other weights and is then called `<name> (held-out)`.
 * @throws UsageError `unknown-name`, `metric-trained`, `metric-twice`, `metric-unfit` and whatever the files give reason to
 */
export async function openHeldOutMetrics(settings: readonly MetricSetting[] | undefined, { model, trained, prompts }: HeldOutContext, backend: Backend, fetching: LocateOptions = {}): Promise<Metric[]> {
  if (settings === undefined) {
    const others = await openOtherRewards(model, trained.map(({ name }) => name), backend);
    return isWorldModel(model) ? [...others, ...(await openWorldMetrics(prompts, backend))] : others;
  }
  const placeOf = (setting: MetricSetting): string | undefined => rewardPlaces(setting, model)?.path ?? setting.path;
  const opened: Metric[] = [];
  for (const named of settings) {
    const { name } = named;
    const isBuiltIn = [...rewardNames, ...worldMetricNames].includes(name);
    if (!isBuiltIn && named.path === undefined) throw unknownNameError("metric", name, [...rewardNames, ...worldMetricNames]);
    const rival = trained.find((reward) => reward.name === name);
    if (rival !== undefined && placeOf(rival) === placeOf(named)) {
      throw new UsageError("metric-trained", `evaluation.metrics: expected metrics that are not trained on, got "${name}"`, "trained rewards are evaluated anyway; name another metric, or the same with other weights: {\"name\", \"path\"}");
    }
    if (rival !== undefined && !isBuiltIn) throw new UsageError("metric-trained", `evaluation.metrics: expected names that no trained reward has, got "${name}"`, "give the metric another name");
    const shown = rival === undefined ? name : `${name} (held-out)`;
    if (opened.some((metric) => metric.name === shown)) throw new UsageError("metric-twice", `evaluation.metrics: expected each name once, got "${name}" twice`);
    const metric = worldMetricNames.includes(name) ? await requireWorldMetric(name, prompts, backend) : await openReward(named, backend, model, fetching);
    const { higherIsBetter = metric.higherIsBetter ?? true } = named;
    opened.push({ ...metric, name: shown, higherIsBetter });
  }
  return opened;
}
