import { readFile, stat } from "node:fs/promises";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { StudyOptions } from "../cli/commands/study.ts";
import { formatBytes, printable } from "../cli/output.ts";
import { decodeUtf8 } from "../data/decode-utf8.ts";
import { storageError } from "../storage/storage-error.ts";
import { analyseStudy } from "./analyse-study.ts";
import { parseAnswers } from "./answers.ts";
import { studyLines } from "./study-text.ts";

/** Largest file of answers: a study of a million answers has less. */
const largestBytes = 512 * 1024 * 1024;

/** The text of a file of answers. @throws UsageError `path-missing`, `no-permission`, `study-size`, `not-utf8` */
async function readAnswers(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    const { size } = await stat(path);
    if (size > largestBytes) throw new UsageError("study-size", `study: expected a file of at most ${formatBytes(largestBytes)}, got ${formatBytes(size)} (at ${path})`, "analyse the studies one by one");
    bytes = await readFile(path);
  } catch (error) {
    throw storageError(error, "read", path);
  }
  return decodeUtf8(bytes, "study", path);
}

/** `tastemaker study analyse FILE`: what people said of pairs of pictures. @throws UsageError as `parseAnswers`, and for a file that cannot be read */
export async function runStudy({ file, seed, resamples }: StudyOptions, { output }: CommandContext): Promise<void> {
  const analysis = analyseStudy(parseAnswers(await readAnswers(file), file), { seed, resamples });
  for (const line of studyLines(analysis)) output.print(printable(line));
  output.result(analysis);
}
