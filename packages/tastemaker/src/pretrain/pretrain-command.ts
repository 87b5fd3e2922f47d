import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { CommandContext } from "../cli/command-context.ts";
import type { PretrainOptions } from "../cli/commands/pretrain.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { wallClock } from "../storage/clock.ts";
import { describeEnvironment } from "../storage/environment.ts";
import { RunDirectory } from "../storage/run-directory.ts";
import { openImages } from "./open-images.ts";
import { runPretraining } from "./pretrain-loop.ts";
import { loadSettings, vaeSettings } from "./settings.ts";
import type { Stage } from "./stage.ts";
import { vaeStage } from "./vae-stage.ts";

/** What the loop needs besides the stage. */
interface Prepared {
  readonly stage: Stage;
  readonly settings: { readonly samples: number };
}

async function prepare(options: PretrainOptions, context: CommandContext): Promise<Prepared> {
  const assignments = [...(options.set ?? []), ...(options.samples === undefined ? [] : [`samples=${options.samples}`])];
  const backend = nodeBackend({ threads: options.threads });
  const { training, heldOut } = await openImages(options.data, options.seed);
  void context;
  const settings = await loadSettings(vaeSettings, options.config, assignments);
  return { stage: vaeStage(settings, training, heldOut, options.seed, backend), settings };
}

/** Opens the run at `out`, or begins it. */
export async function openOrCreateRun(out: string, kind: string, config: unknown, threads: number): Promise<RunDirectory> {
  const root = resolve(out);
  if (existsSync(join(root, "run.json"))) return RunDirectory.open(root);
  return RunDirectory.create(root, { kind, createdAt: wallClock().toISOString(), config, environment: await describeEnvironment(threads), inputs: {} });
}

/** `tastemaker pretrain PART`. */
export async function runPretrain(options: PretrainOptions, context: CommandContext): Promise<void> {
  const { stage, settings } = await prepare(options, context);
  const run = await openOrCreateRun(options.out, `pretrain ${options.part}`, { ...settings, data: options.data, seed: options.seed }, options.threads);
  try {
    const plan = {
      samples: settings.samples,
      seed: options.seed,
      checkpointEvery: Math.ceil(settings.samples / 20),
      sampleEvery: Math.ceil(settings.samples / 10),
      ...(options.minutes === undefined ? {} : { stopAfterMs: options.minutes * 60_000 }),
    };
    const isFinished = await runPretraining(stage, plan, run, nodeBackend({ threads: options.threads }), { signal: context.signal, note: context.output.note });
    context.output.print(isFinished ? `finished: ${run.paths.root}/model` : `stopped; go on with the same command (${run.paths.root})`);
    context.output.result({ finished: isFinished, run: run.paths.root });
  } finally {
    await run.close();
  }
}
