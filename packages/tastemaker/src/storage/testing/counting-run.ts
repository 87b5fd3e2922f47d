/** A run that counts: real files, no training. Arguments: folder, "create" or "resume", iterations, milliseconds per iteration. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { describeEnvironment } from "../environment.ts";
import { RunDirectory } from "../run-directory.ts";

const [root, mode, iterations, delayMs] = process.argv.slice(2) as [string, string, string, string];
const run =
  mode === "create"
    ? await RunDirectory.create(root, { kind: "count", createdAt: "2026-01-01T00:00:00.000Z", config: { iterations }, environment: await describeEnvironment(1), inputs: {} })
    : await RunDirectory.open(root);
let state = run.latest === undefined ? 1 : Number(await readFile(join(run.latest.path, "state.txt"), "utf8"));
for (let step = (run.latest?.step ?? 0) + 1; step <= Number(iterations); step++) {
  state = (state * 48271) % 2147483647;
  await run.appendMetrics({ iteration: step, value: state });
  await run.appendTimings({ iteration: step, uptime: process.uptime() });
  if (step % 3 === 0) await run.checkpoint(step, (path) => writeFile(join(path, "state.txt"), String(state)), { keep: 2 });
  process.stdout.write(`step ${step};\n`);
  await setTimeout(Number(delayMs));
}
await run.close();
