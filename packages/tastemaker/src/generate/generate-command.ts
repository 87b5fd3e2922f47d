import { existsSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { pictureOf } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { GenerateOptions } from "../cli/commands/generate.ts";
import { Progress } from "../cli/progress.ts";
import { readPromptFile } from "../data/prompt-lists.ts";
import { encodePng } from "../images/contact-sheet.ts";
import { openAdapter } from "../models/adapter.ts";
import { worldName } from "../models/emoji-world.ts";
import { pictureNoise } from "../models/image-sampler.ts";
import { isFullSize, openModel } from "../models/open-model.ts";
import { noiseSteps, openPictureSampler } from "../models/picture-sampler.ts";
import { checkPrompt, TextContexts } from "../models/text-contexts.ts";
import { letSignalsIn } from "../platform/let-signals-in.ts";
import { openNodeBackend } from "../platform/runtime.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { readRunRecord } from "../storage/run-directory.ts";
import { readTrainConfig } from "../train/read-train-config.ts";
import { chooseSampling } from "./choose-sampling.ts";

/** A short file name that still tells which prompt a picture is of. */
function fileName(index: number, total: number, prompt: string): string {
  const words = prompt.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-+|-+$/g, "").slice(0, 60);
  return `${String(index).padStart(String(total - 1).length, "0")}${words === "" ? "" : `-${words}`}.png`;
}

/** Other pictures than those that are written. */
const otherPictures = /\.(?:jpe?g|webp|gif|bmp|tiff?|avif)$/i;

/** Where the pictures go: one file, or a folder with one file each; a file name stands for the folder of that name without its extension. */
export function outputPaths(out: string, prompts: readonly string[]): string[] {
  const isFile = extname(out).toLowerCase() === ".png";
  if (prompts.length === 1) return [isFile ? out : join(out, fileName(0, 1, prompts[0]!))];
  const folder = isFile ? out.slice(0, -4) : out;
  return prompts.map((prompt, index) => join(folder, fileName(index, prompts.length, prompt)));
}

/** The model to use where none is said: the one that the adapter was trained on, as far as it lies in a run. */
async function usualModel({ adapter, configs }: GenerateOptions): Promise<{ readonly name: string; readonly configs: string | undefined }> {
  if (adapter === undefined || !existsSync(join(adapter, "run.json")) || (await readRunRecord(adapter)).kind !== "train") return { name: worldName, configs };
  const { model, modelConfig } = await readTrainConfig(adapter);
  return { name: model, configs: configs ?? modelConfig };
}

/**
 * `tastemaker generate`: picture k of a prompt has the noise (seed, place in the list), so the same command with an adapter shows what
 * the adapter changed.
 */
export async function runGenerate(options: GenerateOptions, { output, signal }: CommandContext): Promise<void> {
  const given = [...options.prompts, ...(options.promptsFile === undefined ? [] : await readPromptFile(options.promptsFile))];
  if (given.length === 0) throw new UsageError("prompts-missing", "generate: expected at least one prompt, got none", 'for example: tastemaker generate "a cat on a blue background"');
  for (const prompt of given) checkPrompt(prompt);
  const warn = (text: string): void => output.note(`warning: ${text}`);
  const prompts = given.flatMap((prompt) => Array<string>(options.count).fill(prompt));
  if (otherPictures.test(options.out)) throw new UsageError("option-invalid", `generate: expected a PNG file or a folder, got ${options.out} (at --out)`, "name it .png");
  if (options.adapter === undefined && options.adapterScale !== 1) throw new UsageError("option-invalid", "generate: expected an adapter with --adapter-scale, got none", "say which with --adapter");
  if (options.adapter === undefined && options.checkpoint !== "last") throw new UsageError("option-invalid", "generate: expected a run directory with --checkpoint, got none", "say which with --adapter");
  const backend = await openNodeBackend({ threads: options.threads, provider: options.provider });
  const { name, configs } = options.model === undefined ? await usualModel(options) : { name: options.model, configs: options.configs };
  const model = await openModel(name, { imageSize: options.size, fetching: { signal, note: warn }, ...(configs === undefined ? {} : { configs }) });
  const sampling = chooseSampling(model, options);
  const adapter = options.adapter === undefined ? undefined : await openAdapter(options.adapter, model, options.checkpoint);
  const contexts = new TextContexts(model, backend, warn);
  if (sampling.kind === "consistency" && model.unet.timeCondProjDim === undefined && options.guidance !== undefined && options.guidance !== 1) output.note("warning: this model takes no guidance scale; --guidance has no effect");

  const batchSize = isFullSize(model) ? 1 : Math.min(4, prompts.length);
  const steps = noiseSteps(model, sampling);
  const sampler = await openPictureSampler(model, sampling, { layout: adapter?.layout, batchSize, contexts }, backend);
  const paths = outputPaths(options.out, prompts);
  const written: { prompt: string; file: string }[] = [];
  const progress = new Progress({ label: "pictures", total: prompts.length });
  try {
    for (let start = 0; start < prompts.length && !signal.aborted; start += batchSize) {
      const part = prompts.slice(start, start + batchSize);
      const requests = [];
      for (const [offset, prompt] of part.entries()) {
        requests.push({ context: await contexts.of(prompt), noise: pictureNoise({ seed: options.seed, stream: "generate", index: start + offset }, model.latentShape, steps) });
      }
      const pictures = await sampler.sample(requests, adapter && { parameters: adapter.parameters, strength: options.adapterScale });
      for (const [offset, picture] of pictures.entries()) {
        const file = paths[start + offset]!;
        const bad = picture.findIndex((value) => !Number.isFinite(value));
        if (bad >= 0) throw new UsageError("not-finite", `generate: expected finite numbers, got ${picture[bad]} in the picture of "${part[offset]}"`, "lower --adapter-scale, or use another model");
        await ensureFolder(dirname(file));
        await writeFileAtomic(file, await encodePng(pictureOf(picture, model.imageSize, model.imageSize)));
        written.push({ prompt: part[offset]!, file });
      }
      if (prompts.length > 1) progress.update(written.length);
      await letSignalsIn();
    }
  } finally {
    progress.finish();
    await sampler.dispose();
    await contexts.dispose();
  }
  for (const { file } of written) output.print(file);
  output.result({ pictures: written, adapter: adapter?.path ?? null, model: model.path });
}
