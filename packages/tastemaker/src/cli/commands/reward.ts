import { type Command, Option } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { realNumber, wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

/** Rewards that can be trained on pairs. */
export const fitKinds = ["pick-score", "hpsv2"] as const;
export type FitKind = (typeof fitKinds)[number];

export interface RewardFitOptions {
  readonly kind: FitKind;
  readonly from: string;
  readonly pairs: string;
  readonly heldOut?: string;
  readonly heldOutShare: number;
  readonly out: string;
  /** Default: four passes over the pairs. */
  readonly picturesSeen?: number;
  readonly learningRate?: number;
  readonly batchSize: number;
  readonly weightDecay: number;
  readonly trainLayers?: number;
  readonly vocabulary?: string;
  readonly seed: number;
  readonly threads: number;
  readonly workers: number;
}

/** `tastemaker reward fit`: trains a reward on choices between pictures. */
export function register(program: Command, fit: Engine<RewardFitOptions>): void {
  const reward = program.command("reward").description("Train rewards on people's choices between pictures, and check them.");
  const command = reward
    .command("fit")
    .description("Train a reward on pairs of pictures and choices between them; run again to continue.")
    .addOption(new Option("--kind <name>", "what to train").choices(fitKinds).makeOptionMandatory())
    .requiredOption("--from <folder>", "CLIP to begin with: a folder or file, or emoji for the embedded world's")
    .requiredOption("--pairs <file>", "table (.csv, .jsonl or .parquet) with the columns prompt, image_a, image_b, label")
    .option("--held-out <file>", "table of pairs to measure with; pairs of its prompts are not trained on")
    .option("--held-out-share <x>", "without --held-out: share of the pairs to measure with, whole prompts", realNumber(0.001, 0.9), 0.1)
    .requiredOption("--out <folder>", "folder of the finished reward; its subfolder run/ holds what is needed to continue")
    .option("--pictures-seen <n>", "pictures to train on in all, two per pair (default: four passes)", wholeNumber(2))
    .option("--learning-rate <x>", "peak learning rate (default: 3e-6 for towers of 512 and more numbers per token, else 2e-4)", realNumber(0, 1))
    .option("--batch-size <n>", "pairs per step", wholeNumber(1, 4096), 32)
    .option("--weight-decay <x>", "of AdamW; more holds weights nearer to zero", realNumber(0, 10), 0.05)
    .option("--train-layers <k>", "train only the last k layers of each tower (default: all for pick-score, the paper's share for hpsv2)", wholeNumber(0, 1000))
    .option("--vocabulary <path>", "tokenizer, where it does not lie beside the weights")
    .option("--seed <n>", "equal seeds give equal weights", wholeNumber(0), 0)
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
    .option("--workers <n>", "batches per step, each on a core of its own, gradients averaged; 1 uses all threads on one batch", wholeNumber(1, 256), 1)
    .action((options: RewardFitOptions, self: Command) => runEngine(self, fit, options));
  addExamples(command, ["tastemaker reward fit --kind pick-score --from emoji --pairs pairs.jsonl --out my-pick-score", ["then", "tastemaker train --reward pick-score=my-pick-score"]]);
}
