import { type Command, Option } from "commander";
import { consistencySteps, diffusionGuidanceScale, diffusionSteps, usualGuidanceScale, worldGuidanceScale } from "../../models/default-guidance.ts";
import type { CheckpointChoice } from "../../storage/run-directory.ts";
import type { Engine } from "../command-context.ts";
import { addExamples, collect } from "../help.ts";
import { checkpointChoice, realNumber, wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

/** Options of `tastemaker evaluate`; what is not given comes from the run or is the usual. */
export interface EvaluateOptions {
  /** A training run: its model, settings and held-out prompts, its newest checkpoint as an adapter. */
  readonly run?: string;
  readonly model?: string;
  readonly configs?: string;
  readonly lora?: readonly string[];
  /** Of run directories. */
  readonly checkpoint: CheckpointChoice;
  readonly compare?: readonly string[];
  readonly prompts?: string;
  readonly prompt?: readonly string[];
  readonly limit?: number;
  readonly metrics?: readonly string[];
  readonly seeds?: number;
  readonly steps?: number;
  readonly timesteps?: string;
  readonly guidance?: number;
  readonly eta?: number;
  readonly seed?: number;
  readonly threads?: number;
  readonly provider?: "cpu" | "cuda" | "webgpu";
  readonly out?: string;
  /** Gigabytes. */
  readonly cacheLimit: number;
  /** An `evaluation.json` to compute again. */
  readonly verify?: string;
}

/** `tastemaker evaluate`: numbers with intervals for a model, adapters and other models on equal noise. */
export function register(program: Command, engine: Engine<EvaluateOptions>): void {
  const command = program
    .command("evaluate")
    .description("Compare a model with adapters and other models on equal noise: every metric with its interval, diversity, and a page of pictures.")
    .argument("[run]", "training run: its model, settings and held-out prompts, against one of its checkpoints")
    .option("--model <name>", "base model: emoji, emoji-teacher, a folder in the diffusers layout, or a single .safetensors file (default: emoji)")
    .option("--configs <folder>", "diffusers folder with the configurations of a single-file model")
    .option("--lora <path>", "adapter to compare: LoRA file or run directory (repeatable)", collect)
    .option("--checkpoint <which>", "of run directories: last, best (by the run's own evaluations), or the number of a checkpoint", checkpointChoice, "last" as const)
    .option("--compare <model>", "another model to compare, whose latents have the same shape; a diffusion model beside a consistency model is sampled as is usual for it (repeatable)", collect)
    .option("--prompts <file>", "text file with a prompt per line, world:held-out or world:train (default for emoji: 64 of world:held-out)")
    .option("--prompt <text>", "a prompt (repeatable)", collect)
    .option("--limit <n>", "use the first so many prompts", wholeNumber(1, 1_000_000))
    .option("--metrics <list>", "all, or names separated by commas, each with =PATH where its files lie elsewhere; or a training configuration, whose rewards are meant (default: all)", collect)
    .option("--seeds <k>", "pictures per prompt; diversity needs 2 (default: 2)", wholeNumber(1, 1000))
    .option("--steps <n>", `sampling steps (default: ${consistencySteps}; diffusion models: ${diffusionSteps})`, wholeNumber(1, 50))
    .option("--timesteps <rule>", "of consistency models: linspace, skipping, or a falling list such as 999,759,499,259 (default: linspace)")
    .option("--guidance <w>", `guidance scale (default: ${worldGuidanceScale} for emoji, ${diffusionGuidanceScale} for diffusion models, ${usualGuidanceScale} for other models)`, realNumber(1, 100))
    .option("--eta <x>", "of diffusion models: share of DDIM's noise, from 0 to 1 (default: 1)", realNumber(0, 1))
    .option("--seed <n>", "of the noise; equal seeds give equal numbers (default: 0)", wholeNumber(0))
    .option("--threads <n>", "threads; 0 uses all cores (default: 0)", wholeNumber(0, 1024))
    .addOption(new Option("--provider <name>", "where onnxruntime computes (default: cpu)").choices(["cpu", "cuda", "webgpu"]))
    .option("--out <folder>", "folder for the results (default: evaluations/<date>-<model>, or RUN/evaluation)")
    .option("--cache-limit <GB>", "size of the cache of pictures and scores; 0 empties it afterwards", realNumber(0, 1e6), 20)
    .option("--verify <file>", "compute an evaluation.json again from scratch and say whether it holds (exit code 0 or 1); --model, --lora, --compare and --metrics say where files lie now")
    .action((run: string | undefined, options: Omit<EvaluateOptions, "run">, self: Command) => runEngine(self, engine, { ...options, ...(run === undefined ? {} : { run }) }));
  addExamples(command, [
    "tastemaker evaluate runs/first",
    ["two adapters, four pictures per prompt", "tastemaker evaluate --lora runs/first --lora runs/second --prompts prompts.txt --seeds 4 --out compared"],
    ["does it hold?", "tastemaker evaluate --verify compared/evaluation.json"],
  ]);
}
