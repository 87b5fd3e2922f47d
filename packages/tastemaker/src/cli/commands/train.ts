import type { Command } from "commander";
import type { TrainConfig } from "../../config/train-config.ts";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { runEngine } from "../run-engine.ts";
import { addTrainOptions, resolveTrainOptions, trainManual, type TrainOptions } from "../train-options.ts";

/** `tastemaker train`: reward fine-tuning. */
export function register(program: Command, engine: Engine<TrainConfig>): void {
  const command = addTrainOptions(program.command("train").description("Fine-tune a model's adapter on rewards (ROCM, or one of five baselines).")).action(async (options: TrainOptions, self: Command) => {
    if (options.helpConfig) {
      process.stdout.write(await trainManual());
      return;
    }
    const config = await resolveTrainOptions(options);
    const { configWarnings } = await import("../../config/load-config.ts");
    for (const warning of configWarnings(config)) process.stderr.write(`warning: ${warning}\n`);
    await runEngine(self, engine, config);
  });
  addExamples(command, [
    ["tune the embedded world", "tastemaker train --reward clip-score --iterations 200 --out runs/first"],
    ["settings from a file, one changed", "tastemaker train --config train.json --set divergence.kind=js"],
    ["a reward without a gradient", "tastemaker train --objective rlcm --reward compressibility --batch-size 8"],
    ["every setting explained", "tastemaker train --help-config"],
  ]);
}
