import { consistencySteps, diffusionGuidanceScale, diffusionSteps, usualGuidanceScale, worldGuidanceScale } from "../../models/default-guidance.ts";
import { type Command, Option } from "commander";
import type { CheckpointChoice } from "../../storage/run-directory.ts";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { checkpointChoice, realNumber, wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface GenerateOptions {
  readonly prompts: readonly string[];
  /** Text file with a prompt per line, in addition to `prompts`. */
  readonly promptsFile?: string;
  /** Default: the model of the run whose adapter is used, else emoji. */
  readonly model?: string;
  /** Configurations and tokenizer of a model that is a single file. */
  readonly configs?: string;
  /** A LoRA file, or a run directory, of which `checkpoint` is used. */
  readonly adapter?: string;
  readonly checkpoint: CheckpointChoice;
  readonly adapterScale: number;
  readonly out: string;
  readonly count: number;
  readonly steps?: number;
  /** Side of the pictures in pixels; default: the model's own. */
  readonly size?: number;
  readonly guidance?: number;
  readonly eta?: number;
  readonly seed: number;
  readonly threads: number;
  readonly provider: "cpu" | "cuda" | "webgpu";
}

/** `tastemaker generate PROMPT...`: pictures from a model, with or without an adapter. */
export function register(program: Command, engine: Engine<GenerateOptions>): void {
  const command = program
    .command("generate")
    .description("Make pictures from prompts.")
    .argument("[prompts...]", "prompts")
    .option("--prompts-file <file>", "text file with a prompt per line")
    .option("--model <name>", "emoji, emoji-teacher, a folder in the diffusers layout, a single weight file, or owner/name of a repository on the hub (default: that of the adapter's run, else emoji)")
    .option("--configs <folder>", "diffusers folder (or owner/name) with the configurations of a single-file model")
    .option("--adapter <path>", "LoRA file or run directory")
    .option("--checkpoint <which>", "of a run directory: last, best (by its own evaluations), or the number of a checkpoint", checkpointChoice, "last" as const)
    .option("--adapter-scale <x>", "strength of the adapter", realNumber(-10, 10), 1)
    .option("--out <path>", "PNG file, or a folder; with several pictures x.png stands for the folder x", "picture.png")
    .option("--count <n>", "pictures per prompt", wholeNumber(1, 10_000), 1)
    .option("--steps <n>", `sampling steps (default: ${consistencySteps}; diffusion models: ${diffusionSteps})`, wholeNumber(1, 50))
    .option("--size <pixels>", "side of the pictures (default: what the model was trained for)", wholeNumber(8, 4096))
    .option("--guidance <w>", `guidance scale (default: ${worldGuidanceScale} for emoji, ${diffusionGuidanceScale} for diffusion models, ${usualGuidanceScale} for other models)`, realNumber(1, 100))
    .option("--eta <x>", "of diffusion models: share of DDIM's noise, from 0 to 1 (default: 1)", realNumber(0, 1))
    .option("--seed <n>", "equal seeds give equal pictures", wholeNumber(0), 0)
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
    .addOption(new Option("--provider <name>", "where onnxruntime computes").choices(["cpu", "cuda", "webgpu"]).default("cpu"))
    .action((prompts: string[], options: Omit<GenerateOptions, "prompts">, self: Command) => runEngine(self, engine, { ...options, prompts }));
  addExamples(command, ['tastemaker generate "a cat on a blue background" --out cat.png', ["base and tuned, same noise", 'tastemaker generate "a big fox" --adapter runs/first --seed 7 --out fox.png']]);
}
