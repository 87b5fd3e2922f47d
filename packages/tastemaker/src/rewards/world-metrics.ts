import type { Backend } from "@tastemaker/tensor";
import type { Metric } from "./reward.ts";

/** How a metric of the embedded world is opened; undefined when its weights are not there. */
export type MetricOpener = (backend: Backend) => Promise<Metric | undefined>;

/** Metrics of the embedded world beside its rewards, shown in every evaluation and never trained on. To add one, add a row. */
const openers: readonly MetricOpener[] = [];

/** Opens the metrics whose weights exist. */
export async function openWorldMetrics(backend: Backend): Promise<Metric[]> {
  const opened: Metric[] = [];
  for (const open of openers) {
    const metric = await open(backend);
    if (metric !== undefined) opened.push(metric);
  }
  return opened;
}
