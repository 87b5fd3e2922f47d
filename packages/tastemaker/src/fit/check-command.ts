import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { CommandContext } from "../cli/command-context.ts";
import type { RewardCheckOptions } from "../cli/commands/reward.ts";
import { openNodeBackend } from "../platform/runtime.ts";
import { openReward, rewardNames } from "../rewards/open-reward.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureWritable } from "../storage/ensure-writable.ts";
import { hashFile } from "../storage/file-hash.ts";
import { packageVersion } from "../storage/package-version.ts";
import { calibrationChart } from "./calibration-chart.ts";
import { describeStatistics } from "./describe-statistics.ts";
import { judgePairs } from "./judge-pairs.ts";
import { pairStatistics } from "./pair-statistics.ts";
import { readPairs } from "./pairs.ts";

/** `tastemaker reward check`. */
export async function runRewardCheck(options: RewardCheckOptions, { output, signal }: CommandContext): Promise<void> {
  const { reward: name, path, vocabulary, clip, pairs: table } = options;
  const [out, chart] = [options.out, options.chart].map((file) => (file === undefined ? undefined : resolve(file)));
  for (const file of [out, chart]) if (file !== undefined) await ensureWritable(file);
  const backend = await openNodeBackend({ threads: options.threads });
  const places = { ...(path === undefined ? {} : { path }), ...(rewardNames.includes(name) ? { ...(vocabulary === undefined ? {} : { vocabulary }), ...(clip === undefined ? {} : { clip }) } : {}) };
  const reward = await openReward({ name, ...places }, backend, undefined, { signal, note: (text) => output.note(`warning: ${text}`) });
  // For pictures that lie in the table.
  const cacheFolder = await mkdtemp(join(tmpdir(), "tastemaker-pairs-"));
  try {
    const { sha256, pairs, path: where } = await readPairs(table, cacheFolder);
    const { judged, scale } = await judgePairs(reward, pairs, signal);
    if (judged.length < pairs.length) {
      output.note(`stopped after ${judged.length} of ${pairs.length} pairs`);
      return;
    }
    const statistics = pairStatistics(judged);
    const files = await Promise.all(reward.files.map(async (file) => ({ path: file, sha256: (await hashFile(file)).sha256 })));
    const result = { format: "tastemaker-reward-check/1", tastemaker: packageVersion(), reward: { name, unit: reward.unit, source: reward.source, files }, table: { path: where, sha256 }, scale, ...statistics };
    for (const line of describeStatistics(statistics)) output.print(line);
    if (scale.from === "fitted") output.print(`probabilities are those of scores times ${scale.factor.toPrecision(4)}, the factor that fits these pairs best: the reward states none`);
    output.result(result);
    if (out !== undefined) await writeFileAtomic(out, `${JSON.stringify(result, null, 2)}\n`);
    if (chart !== undefined) await writeFileAtomic(chart, calibrationChart(name, statistics));
  } finally {
    await reward.dispose();
    await rm(cacheFolder, { recursive: true, force: true });
  }
}
