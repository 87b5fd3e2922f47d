// `tastemaker generate` of one picture, start of the process to its end.
// Run: npm run build && npx tsx --conditions=@tastemaker/source bench/generate.ts [--model LCM_DIR] [--rounds 5] [--result FILE.json]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type MeasuredRun, measureCommand } from "./support/command-line.ts";
import { median, writeResult } from "./support/result.ts";
import { writeRandomWorld } from "./support/world-model.ts";

const { values: options } = parseArgs({ options: { model: { type: "string" }, rounds: { type: "string", default: "5" }, result: { type: "string" } } });
const folder = mkdtempSync(join(tmpdir(), "bench-generate-"));
const model = options.model ?? (await writeRandomWorld(folder)).model;
const runs: MeasuredRun[] = [];
for (let round = 0; round < Number(options.rounds); round++) runs.push(await measureCommand(["generate", "a red cat", "--model", model, "--out", join(folder, "picture.png")]));
rmSync(folder, { recursive: true });
writeResult(options.result, { what: "generate one picture", model: options.model ?? "random weights", secondsMedian: median(runs.map(({ seconds }) => seconds)), secondsOfEachRound: runs.map(({ seconds }) => seconds), peakRssMiB: median(runs.map(({ peakRssMiB }) => peakRssMiB)) });
