import { mkdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { CommandContext } from "../cli/command-context.ts";
import type { DistillOptions } from "../cli/commands/distill.ts";
import type { PretrainOptions } from "../cli/commands/pretrain.ts";
import type { StageOptions } from "../cli/stage-options.ts";
import { nodeBackend } from "../platform/runtime.ts";
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

/** `tastemaker distill TEACHER`. */
export async function runDistill(options: DistillOptions, context: CommandContext): Promise<void> {
  await run("distill", options, context, (request) => prepareDistillation(options.teacher, request));
}
