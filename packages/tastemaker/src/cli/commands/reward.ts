import { type Command, Option } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { numberAbove, realNumber, wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

/** Rewards that can be trained on pairs. */
export const fitKinds = ["pick-score", "hpsv2", "image-reward", "aesthetic"] as const;
export type FitKind = (typeof fitKinds)[number];

export interface RewardFitOptions {
  readonly kind: FitKind;
  readonly from: string;
  readonly pairs: string;
  readonly heldOut?: string;
  readonly heldOutShare: number;
  readonly out: string;
  /** Default: four passes over the pairs, 40 for aesthetic. */
  readonly picturesSeen?: number;
  readonly learningRate?: number;
  readonly batchSize: number;
  readonly weightDecay: number;
  readonly mirror?: boolean;
  readonly trainLayers?: number;
  readonly vocabulary?: string;
  readonly seed: number;
  readonly threads: number;
  readonly workers: number;
}

export interface RewardCheckOptions {
  readonly reward: string;
  readonly path?: string;
  readonly vocabulary?: string;
  readonly clip?: string;
  readonly pairs: string;
  readonly out?: string;
  readonly chart?: string;
  readonly threads: number;
}

/** `tastemaker reward fit` and `check`: trains a reward on choices between pictures, and measures how well a reward predicts them. */
export function register(program: Command, fit: Engine<RewardFitOptions>, check: Engine<RewardCheckOptions>): void {
  const reward = program.command("reward").description("Train rewards on people's choices between pictures, and check them.");
  const command = reward
    .command("fit")
    .description("Train a reward on pairs of pictures and choices between them; run again to continue.")
    .addOption(new Option("--kind <name>", "what to train").choices(fitKinds).makeOptionMandatory())
    .requiredOption("--from <folder>", "what to begin with: a CLIP (for image-reward a BLIP or an ImageReward, for aesthetic a CLIP or a head), folder or file, or emoji for the embedded world's")
    .requiredOption("--pairs <file>", "table (.csv, .jsonl or .parquet) with the columns prompt, image_a, image_b, label")
    .option("--held-out <file>", "table of pairs to measure with; pairs of its prompts are not trained on")
    .option("--held-out-share <x>", "without --held-out: share of the pairs to measure with, whole prompts", realNumber(0.001, 0.9), 0.1)
    .requiredOption("--out <folder>", "folder of the finished reward; its subfolder run/ holds what is needed to continue")
    .option("--pictures-seen <n>", "pictures to score in all (default: four passes over the pairs, 40 for aesthetic)", wholeNumber(2))
    .option("--learning-rate <x>", "peak learning rate (default: the paper's for towers of 512 and more numbers per token, else 2e-4; 1e-3 for aesthetic)", numberAbove(0, 1))
    .option("--batch-size <n>", "half the pictures per step; all pairs among them count", wholeNumber(1, 4096), 32)
    .option("--weight-decay <x>", "of AdamW; more holds weights nearer to zero", realNumber(0, 10), 0.05)
    .option("--mirror", "show half of all pairs with both pictures mirrored; for few pairs, where left and right say nothing (default: off)")
    .option("--train-layers <k>", "train only the last k layers of each tower (default: all for pick-score, the papers' shares for hpsv2 and image-reward)", wholeNumber(0, 1000))
    .option("--vocabulary <path>", "tokenizer, where it does not lie beside the weights")
    .option("--seed <n>", "equal seeds give equal weights", wholeNumber(0), 0)
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
    .option("--workers <n>", "batches per step, each on a core of its own, gradients averaged; 1 uses all threads on one batch", wholeNumber(1, 256), 1)
    .action((options: RewardFitOptions, self: Command) => runEngine(self, fit, options));
  const checking = reward
    .command("check")
    .description("Measure how well a reward predicts choices: accuracy, log-loss, calibration.")
    .requiredOption("--reward <name>", "a reward")
    .option("--path <place>", "where its weights are; emoji for the embedded world's")
    .requiredOption("--pairs <file>", "table (.csv, .jsonl or .parquet) with the columns prompt, image_a, image_b, label")
    .option("--out <file>", "JSON file for the numbers")
    .option("--chart <file>", "SVG file for the calibration")
    .option("--clip <path>", "for a published aesthetic head: the CLIP whose embeddings it judges")
    .option("--vocabulary <path>", "tokenizer, where it does not lie beside the weights")
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
    .action((options: RewardCheckOptions, self: Command) => runEngine(self, check, options));
  addExamples(checking, ["tastemaker reward check --reward clip-score --path emoji --pairs pairs.jsonl --chart calibration.svg"]);
  addExamples(reward, ["tastemaker reward check --reward clip-score --path emoji --pairs pairs.jsonl"]);
  addExamples(command, ["tastemaker reward fit --kind pick-score --from emoji --pairs pairs.jsonl --out my-pick-score", ["then", "tastemaker train --reward pick-score=my-pick-score"]]);
}
