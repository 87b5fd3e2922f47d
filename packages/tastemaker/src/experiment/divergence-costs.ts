import { nodeBackend } from "../platform/runtime.ts";
import { monotonicMs } from "../storage/clock.ts";
import { describeEnvironment, type Environment } from "../storage/environment.ts";
import { benchDivergences, type DivergenceCost } from "./analysis/divergence-table.ts";
import { readRecord, writeRecord } from "./files.ts";
import type { ExperimentPaths } from "./paths.ts";

export const costsFormat = "tastemaker-experiment-costs/1";

/** Content of `divergence-costs.json`: what Table 3 says of time and memory. */
export interface DivergenceCosts {
  readonly format: typeof costsFormat;
  readonly environment: Environment;
  readonly costs: readonly DivergenceCost[];
}

/** Latents of Stable Diffusion at 512 pixels, four at once: the embedded world's are too small to time. */
const latent = [4, 4, 64, 64] as const;

/** Measures the divergences on one thread where that was not done before. */
export async function measureCosts(paths: ExperimentPaths): Promise<void> {
  if ((await readRecord<DivergenceCosts>(paths.costs, costsFormat)) !== undefined) return;
  const costs = await benchDivergences(nodeBackend({ threads: 1 }), { latent, draws: 16, repeats: 50, now: monotonicMs });
  const record: DivergenceCosts = { format: costsFormat, environment: await describeEnvironment(1), costs };
  await writeRecord(paths.costs, record);
}
