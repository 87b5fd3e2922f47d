import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { encodeSafetensors, readSafetensorsHeader, readTensorFloat32, type TensorToStore } from "@tastemaker/diffusion";
import type { CommandContext } from "../../cli/command-context.ts";
import { formatDuration } from "../../cli/progress.ts";
import { worldFolder } from "../../models/emoji-world.ts";
import { nodeBackend } from "../../platform/runtime.ts";
import { openNodeFile } from "../../platform/node-files.ts";
import { openClipNetwork } from "../../rewards/clip-network.ts";
import { writeFileAtomic } from "../../storage/atomic-file.ts";
import { monotonicMs } from "../../storage/clock.ts";
import { pipelineIndex } from "../../pretrain/pipeline-index.ts";
import { openOrCreateRun, runStage } from "../../pretrain/run-stage.ts";
import { prepareDistillation, prepareStage, type StageRequest } from "../../pretrain/prepare-stage.ts";
import { runPretraining } from "../../pretrain/pretrain-loop.ts";
import { EmojiImages } from "./emoji-images.ts";
import { fitWorldRewards } from "./fit-rewards.ts";
import { preferencePrompts } from "./preference-size.ts";
import { makePreferences } from "./preferences.ts";
import { tasteHeadStage } from "./taste-head-stage.ts";

/** One part of the world: its working folder, how many pictures it is trained on, and what it needs. */
export interface WorldPart {
  readonly name: "vae" | "judge" | "clip" | "blip" | "unet" | "distill" | "head";
  readonly samples: number;
  readonly assignments: readonly string[];
}

/**
 * The recipe, in order: about four and a half hours on two idle cores, by the speeds measured for the shipped weights. Those were trained with the same numbers of pictures, in two sittings
 * (`worlds/emoji/README.md`).
 */
export const worldRecipe: readonly WorldPart[] = [
  { name: "vae", samples: 150_000, assignments: [] },
  { name: "unet", samples: 345_000, assignments: ["cache=40000"] },
  { name: "distill", samples: 80_000, assignments: ["cache=40000", "guidance=[1,6]"] },
  { name: "clip", samples: 295_000, assignments: [] },
  { name: "blip", samples: 80_000, assignments: [] },
  { name: "judge", samples: 250_000, assignments: [] },
  { name: "head", samples: 150_000, assignments: [] },
];

/** Every file of a finished run's model. */
const modelOf = (folder: string, part: string): string => join(folder, part, "model");

/** Copies a weight file, rounding float32 to float16. */
async function copyHalf(from: string, to: string): Promise<void> {
  const file = await openNodeFile(from);
  const { tensors, metadata } = await readSafetensorsHeader(file);
  const halves = new Map<string, TensorToStore>();
  for (const [name, entry] of tensors) halves.set(name, { dtype: "F16", shape: entry.shape, data: await readTensorFloat32(file, entry) });
  await mkdir(dirname(to), { recursive: true });
  await writeFileAtomic(to, encodeSafetensors(halves, metadata));
}

async function copyText(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await writeFileAtomic(to, await readFile(from));
}

const tokenizerFiles = ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"] as const;

/** Puts the finished parts together under `worlds/emoji`, in float16 and the diffusers layout. */
export async function assembleWorld(build: string, target: string = worldFolder): Promise<void> {
  const component = async (part: string, folder: string, to: string, weights = "diffusion_pytorch_model.safetensors"): Promise<void> => {
    await copyText(join(modelOf(build, part), folder, "config.json"), join(target, to, "config.json"));
    await copyHalf(join(modelOf(build, part), folder, weights), join(target, to, weights));
  };
  await mkdir(join(target, "lcm"), { recursive: true });
  await writeFileAtomic(join(target, "lcm", "model_index.json"), pipelineIndex("LatentConsistencyModelPipeline"));
  await component("distill", "unet", "lcm/unet");
  await copyText(join(modelOf(build, "distill"), "scheduler/scheduler_config.json"), join(target, "lcm/scheduler/scheduler_config.json"));
  await component("vae", "vae", "lcm/vae");
  await component("unet", "text_encoder", "lcm/text_encoder", "model.safetensors");
  await component("unet", "unet", "teacher/unet");
  await copyText(join(modelOf(build, "unet"), "scheduler/scheduler_config.json"), join(target, "teacher/scheduler/scheduler_config.json"));
  await component("clip", "clip", "clip", "model.safetensors");
  await component("blip", "blip", "blip", "model.safetensors");
  await copyText(join(modelOf(build, "blip"), "blip", "vocab.txt"), join(target, "blip", "vocab.txt"));
  await component("judge", "judge", "judge", "model.safetensors");
  await component("head", "aesthetic", "aesthetic", "model.safetensors");
  for (const name of tokenizerFiles) {
    for (const [from, to] of [[join(modelOf(build, "unet"), "tokenizer", name), join(target, "lcm/tokenizer", name)], [join(modelOf(build, "clip"), "clip", name), join(target, "clip", name)]] as const) {
      if (existsSync(from)) await copyText(from, to);
    }
  }
}

/** Trains all parts from nothing, or goes on where the last call stopped, and puts the world together. */
export async function buildWorld(options: { readonly out: string; readonly seed: number; readonly threads: number }, context: CommandContext): Promise<void> {
  const startedAt = monotonicMs();
  const backend = nodeBackend({ threads: options.threads });
  await mkdir(options.out, { recursive: true });
  for (const { name, samples, assignments } of worldRecipe) {
    const out = join(options.out, name);
    if (existsSync(join(out, "model"))) {
      context.output.note(`${name}: done before`);
      continue;
    }
    const request: StageRequest = { data: "emoji", seed: options.seed, config: undefined, assignments: [...assignments, `samples=${samples}`], backend, cacheFolder: options.out };
    if (name === "head") {
      await trainHead(options.out, samples, request, context, options.threads);
    } else {
      const isFinished = await runStage(`pretrain ${name}`, { out, threads: options.threads }, context, request, async (asked) => {
        if (name === "distill") return prepareDistillation(modelOf(options.out, "unet"), asked);
        const extra = name === "unet" ? [`vae=${join(modelOf(options.out, "vae"), "vae")}`] : [];
        return prepareStage(name, { ...asked, assignments: [...asked.assignments, ...extra] });
      });
      if (!isFinished) return;
    }
    context.output.note(`${name}: ${formatDuration(monotonicMs() - startedAt)} since the start of this call`);
  }
  await assembleWorld(options.out);
  const preferences = join(options.out, "preferences");
  await makePreferences({ out: preferences, prompts: preferencePrompts, seed: options.seed }, backend, context);
  if (context.signal.aborted || !(await fitWorldRewards(preferences, options.out, options.threads, context))) return;
  context.output.print(`the world is built: ${worldFolder}`);
}

async function trainHead(build: string, samples: number, request: StageRequest, context: CommandContext, threads: number): Promise<void> {
  const images = await EmojiImages.open(worldFolder, { seed: request.seed });
  const heldOut = await EmojiImages.open(worldFolder, { seed: request.seed, split: "held-out" });
  const stage = await tasteHeadStage(images, heldOut, await openClipNetwork(join(modelOf(build, "clip"), "clip")), request.seed, request.backend);
  const run = await openOrCreateRun(join(build, "head"), "pretrain head", { samples }, threads);
  try {
    const plan = { samples, seed: request.seed, workers: 1, checkpointEvery: samples, sampleEvery: Math.ceil(samples / 5) };
    await runPretraining(stage, plan, run, request.backend, { signal: context.signal, note: context.output.note });
  } finally {
    await run.close();
  }
}
