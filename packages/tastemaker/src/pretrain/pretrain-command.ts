import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { CommandContext } from "../cli/command-context.ts";
import type { DistillOptions } from "../cli/commands/distill.ts";
import type { PretrainOptions } from "../cli/commands/pretrain.ts";
import type { StageOptions } from "../cli/stage-options.ts";
import { isRemoteName, pinWeights } from "../hub/locate-weights.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { readRunRecord } from "../storage/run-directory.ts";
import { prepareDistillation, type PreparedStage, prepareStage, type StageRequest } from "./prepare-stage.ts";
import { runStage } from "./run-stage.ts";

async function run(kind: string, options: StageOptions, context: CommandContext, prepare: (request: StageRequest) => Promise<PreparedStage>): Promise<void> {
  // Beside the run, so that a diffusion model and its distillation share the encoded pictures.
  const cacheFolder = dirname(resolve(options.out));
  await mkdir(cacheFolder, { recursive: true });
  const request: StageRequest = {
    data: options.data,
    seed: options.seed,
    config: options.config,
    assignments: [...(options.set ?? []), ...(options.samples === undefined ? [] : [`samples=${options.samples}`])],
    backend: nodeBackend({ threads: options.threads }),
    cacheFolder,
  };
  const finished = await runStage(kind, options, context, request, prepare);
  context.output.result({ finished, run: resolve(options.out) });
}

/** `tastemaker pretrain PART`. */
export async function runPretrain(options: PretrainOptions, context: CommandContext): Promise<void> {
  const { part } = options;
  await run(`pretrain ${part}`, options, context, (request) => prepareStage(part, request));
}

/** The teacher with its commit, where the run has begun with a repository of the hub and the command names the same one. */
async function recordedTeacher({ out, teacher }: DistillOptions): Promise<string | undefined> {
  if (!existsSync(join(out, "run.json")) || !isRemoteName(teacher)) return undefined;
  const recorded = ((await readRunRecord(resolve(out))).config as { teacher?: unknown } | null)?.teacher;
  return typeof recorded === "string" && recorded.startsWith(`${teacher}@`) ? recorded : undefined;
}

/** `tastemaker distill TEACHER`. */
export async function runDistill(options: DistillOptions, context: CommandContext): Promise<void> {
  const { output, signal } = context;
  const fetching = { signal, note: (text: string): void => output.note(`warning: ${text}`) };
  const teacher = (await recordedTeacher(options)) ?? (await pinWeights(options.teacher, fetching));
  await run("distill", options, context, (request) => prepareDistillation(teacher, request, fetching));
}
