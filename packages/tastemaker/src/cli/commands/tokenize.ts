import type { Command } from "commander";
import { addExamples } from "../help.ts";
import { outputOf } from "../output.ts";
import { wholeNumber } from "../parse-option.ts";

export interface TokenizeOptions {
  readonly tokenizer: string;
  readonly vocab: readonly string[];
  readonly jsonLines: boolean;
  readonly length?: number;
}

/** `tastemaker tokenize --tokenizer KIND --vocab FILE…`: the token ids of the texts on standard input. */
export function register(program: Command): void {
  const command = program
    .command("tokenize")
    .description(
      "Print the token ids of texts, as a model's text encoder gets them. Texts come from standard input, one in each line. One line of ids is printed per text, complete with start and end token; with --json, one JSON line with all of them.",
    )
    .requiredOption("--tokenizer <kind>", "openai, open_clip (also HPSv2), hf_slow_ftfy, hf_slow_no_ftfy, hf_fast (CLIP in transformers), or bert (BLIP, ImageReward)")
    .requiredOption(
      "--vocab <files...>",
      "the vocabulary. CLIP: bpe_simple_vocab_16e6.txt.gz, tokenizer.json, vocab.json with merges.txt, or a folder with them; bert: vocab.txt or its folder",
    )
    .option("--json-lines", "each input line is a JSON string, or a JSON list of strings; so a text can hold line breaks", false)
    .option("--length <n>", "cut and pad to this many ids (77 for CLIP, 35 for BLIP)", wholeNumber(2, 2 ** 20))
    .action(async (options: TokenizeOptions, self: Command) => {
      const { runTokenize } = await import("../../tokenize/tokenize-command.ts");
      await runTokenize(options, process.stdin, outputOf(self));
    });
  addExamples(command, [
    "tastemaker tokenize --tokenizer openai --vocab bpe_simple_vocab_16e6.txt.gz < prompts.txt",
    ["texts with line breaks, padded", "tastemaker tokenize --tokenizer bert --vocab vocab.txt --json-lines --length 35 --json < texts.jsonl"],
  ]);
}
