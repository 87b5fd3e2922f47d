import type { Command } from "commander";
import type { Engine } from "../command-context.ts";
import { addExamples } from "../help.ts";
import { wholeNumber } from "../parse-option.ts";
import { runEngine } from "../run-engine.ts";

export interface StudyOptions {
  readonly file: string;
  readonly seed: number;
  readonly resamples: number;
}

/** `tastemaker study analyse FILE`: what people said of pairs of pictures. */
export function register(program: Command, engine: Engine<StudyOptions>): void {
  const study = program.command("study").description("Analyse what people say of pairs of pictures.");
  const analyse = study
    .command("analyse")
    .description("Win rates with intervals between pairs and people, agreement, Bradley-Terry strengths, and how each person answered.")
    .argument("<file>", "answers as CSV or JSONL with the columns pair, prompt, methodA, methodB, pictureA, pictureB, aSide (left, right), annotator, question (general preference, visual appeal, prompt alignment), answer (A, B, tie)")
    .option("--seed <n>", "seed of the bootstrap samples", wholeNumber(0), 0)
    .option("--resamples <n>", "bootstrap samples behind the strengths' intervals", wholeNumber(2, 100_000), 1000)
    .action((file: string, options: Omit<StudyOptions, "file">, self: Command) => runEngine(self, engine, { ...options, file }));
  addExamples(analyse, ["tastemaker study analyse answers.csv"]);
  addExamples(study, ["tastemaker study analyse answers.csv"]);
}
