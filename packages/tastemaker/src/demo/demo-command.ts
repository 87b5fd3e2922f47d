import type { CommandContext } from "../cli/command-context.ts";
import type { DemoOptions } from "../cli/commands/demo.ts";
import { type Override, resolveTrainConfig } from "../config/load-config.ts";
import { trainAndReport } from "../train/train-command.ts";

/** Settings of the demonstration where they differ from the defaults. */
const settings: Readonly<Record<string, unknown>> = {
  model: "emoji",
  rewards: [
    { name: "aesthetic", weight: 1 },
    { name: "clip-score", weight: 15 },
  ],
  "divergence.kind": "kl",
  beta: "auto",
  steps: 8,
  batchSize: 4,
  learningRate: 5e-4,
  "evaluation.every": 40,
  "checkpoint.every": 20,
};

/** `tastemaker demo`: ROCM on the embedded world, in the time of a coffee, in plain sentences. */
export async function runDemo(options: DemoOptions, context: CommandContext): Promise<void> {
  const { iterations, minutes, prompts, seed, threads, out } = options;
  const given = { ...settings, iterations, "evaluation.count": prompts, seed, threads, ...(out === undefined ? {} : { out }) };
  const overrides = Object.entries(given).map(([path, value]): Override => ({ path, value, option: "demo" }));
  const config = resolveTrainConfig(undefined, overrides);
  const { output } = context;
  output.print("Tastemaker tunes a small text-to-image model that came with it, on this machine.");
  output.print(`It makes ${iterations * config.batchSize} pictures in ${iterations} rounds. Two reward models say how good each is (does it show what the prompt says, is it pleasing), and the`);
  output.print("model learns from the slope of that score, while a divergence (KL) keeps it near the model it was. That takes a few minutes.");
  output.print(`Then the model before and after is compared on ${prompts} prompts that it was never trained on, with the same noise.`);
  const timeOver = AbortSignal.timeout(Math.round(minutes * 60_000));
  const report = await trainAndReport(config, { ...context, timeOver });
  if (report !== undefined) output.print(`\nOpen this page in a browser to see pictures before and after, curves, and how sure the numbers are:\n${report}`);
}
