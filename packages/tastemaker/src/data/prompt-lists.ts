import { readFile } from "node:fs/promises";
import { UsageError } from "@tastemaker/tensor";
import { checkPrompt } from "../models/text-contexts.ts";
import { hashText } from "../storage/file-hash.ts";
import { storageError } from "../storage/storage-error.ts";
import { heldOutPrompts, trainingPrompts } from "../worlds/emoji/prompts.ts";

/** Prompts of one role and what identifies them. */
export interface PromptList {
  readonly prompts: readonly string[];
  /** `world:train`, the path, or `configuration`. */
  readonly source: string;
  /** SHA-256 of the prompts joined by line feeds. */
  readonly sha256: string;
}

/** Training prompts of the embedded world. */
const worldTrainingCount = 512;

/** The prompts of a text file: one per line; empty lines and lines that begin with # are skipped. @throws UsageError `prompts-empty` */
export async function readPromptFile(path: string): Promise<string[]> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw storageError(error, "read", path);
  });
  const prompts = text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (prompts.length === 0) throw new UsageError("prompts-empty", `prompts: expected at least one line of text, got none (at ${path})`);
  return prompts;
}

/**
 * Finds the prompts of a setting: `world:train`, `world:held-out`, the path of a text file, or the prompts themselves.
 * @param limit Keeps the first so many.
 * @throws UsageError `prompts-unknown`, `prompts-empty`, `path-missing`, `prompt-empty`, `prompt-too-long`
 */
export async function resolvePrompts(setting: string | readonly string[], limit?: number): Promise<PromptList> {
  let all: readonly string[];
  let source = "configuration";
  if (typeof setting !== "string") all = setting;
  else {
    source = setting;
    if (setting === "world:train") all = trainingPrompts(limit ?? worldTrainingCount).map(({ caption }) => caption);
    else if (setting === "world:held-out") all = heldOutPrompts(limit ?? worldTrainingCount).map(({ caption }) => caption);
    else if (setting.startsWith("world:")) throw new UsageError("prompts-unknown", `prompts: expected world:train or world:held-out, got "${setting}"`);
    else all = await readPromptFile(setting);
  }
  const prompts = limit === undefined ? all : all.slice(0, limit);
  for (const prompt of prompts) checkPrompt(prompt);
  return { prompts, source, sha256: hashText(prompts.join("\n")) };
}
