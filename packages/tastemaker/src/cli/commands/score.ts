import { type Command, Option } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface ScoreOptions {
  readonly reward: readonly string[];
  readonly image?: readonly string[];
  readonly prompt?: readonly string[];
  /** JSONL or parquet table, instead of images and prompts. */
  readonly rows?: string;
  readonly imageColumn?: string;
  readonly promptColumn?: string;
  readonly clip?: string;
  readonly vocabulary?: string;
  readonly out?: string;
  readonly gradient?: string;
  readonly threads: number;
  readonly provider: "cpu" | "cuda" | "webgpu";
}

/** `tastemaker score`: what rewards and metrics say of pictures. */
export function register(program: Command, engine: Engine<ScoreOptions>): void {
  const command = program
    .command("score")
    .description("Score pictures with rewards, exactly as their reference implementations do.")
    .requiredOption("--reward <spec...>", "rewards as NAME or NAME=PATH, separated by commas or repeated; the path says where the weights are")
    .option("--image <path...>", "pictures, or folders of them (captions: a .txt beside each picture, or captions.jsonl)")
    .option("--prompt <text...>", "one prompt for all pictures, or one for each")
    .option("--rows <file>", "a table of pictures and prompts (.jsonl or .parquet) instead")
    .option("--image-column <name>", "column of the table with paths or bytes of pictures (default: image, image_path, file_name or path)")
    .option("--prompt-column <name>", "column of the table with prompts (default: prompt, caption or text)")
    .option("--clip <path>", "for a published aesthetic head: the CLIP whose embeddings it judges")
    .option("--vocabulary <path>", "tokenizer of the rewards, where it does not lie beside their weights")
    .option("--out <file>", "JSONL file for the scores; a killed command continues it")
    .option("--gradient <file>", "safetensors file for the gradient of every score by its picture")
    .option("--threads <n>", "threads; 0 uses all cores", wholeNumber(0, 1024), 0)
    .addOption(new Option("--provider <name>", "where onnxruntime computes").choices(["cpu", "cuda", "webgpu"]).default("cpu"))
    .action((options: ScoreOptions, self: Command) => runEngine(self, engine, options));
  addExamples(command, [
    'tastemaker score --reward clip-score,aesthetic --image cat.png --prompt "a cat on a blue background"',
    ["weights of your own, a table, resumable", "tastemaker score --reward pick-score=weights/PickScore_v1 --rows pairs.parquet --out scores.jsonl"],
  ]);
}
