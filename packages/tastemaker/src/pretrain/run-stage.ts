import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { CommandContext } from "../cli/command-context.ts";
import { openRunEvents } from "../logs/run-events.ts";
import { wallClock } from "../storage/clock.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { RunDirectory } from "../storage/run-directory.ts";
import type { PreparedStage, StageRequest } from "./prepare-stage.ts";
import { runPretraining } from "./pretrain-loop.ts";

/** Opens the run at `out` to go on, or begins it. */
export async function openOrCreateRun(out: string, kind: string, config: unknown, threads: number): Promise<RunDirectory> {
  const root = resolve(out);
  if (existsSync(join(root, "run.json"))) return RunDirectory.open(root);
  return RunDirectory.create(root, { kind, createdAt: wallClock().toISOString(), config, environment: await describeEnvironment(threads), inputs: {} });
}

/** Trains a prepared stage in its run directory. Returns true when it finished, false when it was stopped before. */
export async function runStage(
  kind: string,
  options: { readonly out: string; readonly threads: number; readonly minutes?: number },
  context: CommandContext,
  request: StageRequest,
  prepare: (request: StageRequest) => Promise<PreparedStage>,
): Promise<boolean> {
  const { stage, settings } = await prepare(request);
  const run = await openOrCreateRun(options.out, kind, { ...settings, data: request.data, seed: request.seed }, options.threads);
  try {
    run.follow(await openRunEvents(run.paths.root));
    const plan = {
      samples: settings.samples,
      seed: request.seed,
      workers: settings.workers,
      checkpointEvery: Math.ceil(settings.samples / 20),
      sampleEvery: Math.ceil(settings.samples / 10),
      ...(options.minutes === undefined ? {} : { stopAfterMs: options.minutes * 60_000 }),
    };
    const isFinished = await runPretraining(stage, plan, run, request.backend, { signal: context.signal, note: context.output.note });
    context.output.note(isFinished ? `finished: ${run.paths.root}/model` : `stopped; go on with the same command (${run.paths.root})`);
    return isFinished;
  } finally {
    await run.close();
  }
}
