import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { DistillOptions } from "../cli/commands/distill.ts";
import type { PretrainOptions } from "../cli/commands/pretrain.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { wallClock } from "../storage/clock.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { RunDirectory } from "../storage/run-directory.ts";
import { prepareDistillation, type PreparedStage, prepareStage, type StageRequest } from "./prepare-stage.ts";
import { runPretraining } from "./pretrain-loop.ts";

type SharedOptions = Omit<PretrainOptions, "part">;

/** Opens the run at `out` to go on, or begins it. */
async function openOrCreateRun(out: string, kind: string, config: unknown, threads: number): Promise<RunDirectory> {
  const root = resolve(out);
  if (existsSync(join(root, "run.json"))) return RunDirectory.open(root);
  return RunDirectory.create(root, { kind, createdAt: wallClock().toISOString(), config, environment: await describeEnvironment(threads), inputs: {} });
}

async function runStage(kind: string, options: SharedOptions, context: CommandContext, prepare: (request: StageRequest) => Promise<PreparedStage>): Promise<void> {
  const backend = nodeBackend({ threads: options.threads });
  // Beside the run, so that the diffusion model and its distillation share the encoded pictures.
  const cacheFolder = dirname(resolve(options.out));
  await mkdir(cacheFolder, { recursive: true });
  const { stage, settings } = await prepare({
    data: options.data,
    seed: options.seed,
    config: options.config,
    assignments: [...(options.set ?? []), ...(options.samples === undefined ? [] : [`samples=${options.samples}`])],
    backend,
    cacheFolder,
  });
  const run = await openOrCreateRun(options.out, kind, { ...settings, data: options.data, seed: options.seed }, options.threads);
  try {
    const plan = {
      samples: settings.samples,
      seed: options.seed,
      checkpointEvery: Math.ceil(settings.samples / 20),
      sampleEvery: Math.ceil(settings.samples / 10),
      ...(options.minutes === undefined ? {} : { stopAfterMs: options.minutes * 60_000 }),
    };
    const isFinished = await runPretraining(stage, plan, run, backend, { signal: context.signal, note: context.output.note });
    context.output.print(isFinished ? `finished: ${run.paths.root}/model` : `stopped; go on with the same command (${run.paths.root})`);
    context.output.result({ finished: isFinished, run: run.paths.root });
  } finally {
    await run.close();
  }
}

/** `tastemaker pretrain PART`. */
export async function runPretrain(options: PretrainOptions, context: CommandContext): Promise<void> {
  const { part } = options;
  if (part === "head") throw new UsageError("part-unavailable", "pretrain: expected vae, clip, unet or judge, got head", "the head of a world is trained by `tastemaker world build`");
  await runStage(`pretrain ${part}`, options, context, (request) => prepareStage(part, request));
}

/** `tastemaker distill TEACHER`. */
export async function runDistill(options: DistillOptions, context: CommandContext): Promise<void> {
  await runStage("distill", options, context, (request) => prepareDistillation(options.teacher, request));
}
