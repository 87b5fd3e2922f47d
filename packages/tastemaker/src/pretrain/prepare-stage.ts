import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { clipText, openClipTokenizer, parseClipTextConfig, parseUNetConfig, unetParameters } from "@tastemaker/diffusion";
import { type Backend, input, program, UsageError } from "@tastemaker/tensor";
import type { CaptionedImages } from "../data/captioned-images.ts";
import { bertVocabulary, countBertWords } from "../data/bert-vocabulary.ts";
import { ImageFolder } from "../data/image-folder.ts";
import { blipTextLength } from "../rewards/blip-reward.ts";
import { isRemoteName, type LocateOptions, locateWeights } from "../hub/locate-weights.ts";
import { neededForPipeline } from "../hub/needed-files.ts";
import { worldFolder, worldName, worldPart } from "../models/emoji-world.ts";
import { openNodeFolder, readNodeWeight } from "../platform/node-files.ts";
import { EmojiImages } from "../worlds/emoji/emoji-images.ts";
import { judgeStage } from "../worlds/emoji/judge-stage.ts";
import { heldOutPrompts } from "../worlds/emoji/prompts.ts";
import { isTrueOf } from "../worlds/emoji/scene.ts";
import { longestCaption, worldBertVocabulary, worldBpe, worldContextLength } from "../worlds/emoji/tokenizer.ts";
import type { HeldOutPairs } from "./blip-scores.ts";
import { blipStage } from "./blip-stage.ts";
import { clipStage } from "./clip-stage.ts";
import type { Teacher } from "./distill-objective.ts";
import { distillStage } from "./distill-stage.ts";
import { cacheLatents } from "./latent-cache.ts";
import { openAutoencoder, openComponent, readValues } from "./open-component.ts";
import { openImages } from "./open-images.ts";
import { blipSettings, clipSettings, distillSettings, judgeSettings, loadSettings, unetSettings, vaeSettings } from "./settings.ts";
import type { Stage } from "./stage.ts";
import { pipelineIndex } from "./pipeline-index.ts";
import { bertCaptions, type BertCaptions, type CaptionTokens, captionTokens, type MadeTokenizer, tokensOf, vocabularyOf } from "./text-ids.ts";
import { unetStage } from "./unet-stage.ts";
import { vaeStage } from "./vae-stage.ts";

/** What to train, on what, and the settings in force (for the run's record). */
export interface PreparedStage {
  readonly stage: Stage;
  readonly settings: { readonly samples: number; readonly workers: number; readonly teacher?: string };
}

export interface StageRequest {
  /** `emoji` or a folder of captioned pictures. */
  readonly data: string;
  readonly seed: number;
  /** JSON file with settings. */
  readonly config: string | undefined;
  /** `path=value` over it. */
  readonly assignments: readonly string[];
  readonly backend: Backend;
  /** Where encoded pictures are kept. */
  readonly cacheFolder: string;
}

const sheetCount = 32;

/** The world's tokenizer, or one made from the captions of a folder. */
function tokensFor(data: string, images: CaptionedImages<unknown>): MadeTokenizer {
  if (data === "emoji") return captionTokens(worldBpe(), worldContextLength);
  return captionTokens(vocabularyOf(images instanceof ImageFolder ? images.captions() : []), 77);
}

/** The same for BLIP. */
function bertCaptionsFor(data: string, images: CaptionedImages<unknown>): BertCaptions {
  if (data === "emoji") return bertCaptions(worldBertVocabulary(), longestCaption);
  return bertCaptions(bertVocabulary(countBertWords(images instanceof ImageFolder ? images.captions() : [])), blipTextLength);
}

/** With the world's own truth where the pictures are its. */
function heldOutPairs(images: CaptionedImages<unknown>): HeldOutPairs {
  if (!(images instanceof EmojiImages)) return { images };
  return { images, isTrue: (caption, picture) => isTrueOf(images.sceneAt(caption), images.sceneAt(picture)) };
}

async function sheetPrompts(data: string, images: CaptionedImages<unknown>): Promise<string[]> {
  if (data === "emoji") return heldOutPrompts(sheetCount).map(({ caption }) => caption);
  return [...(await images.batch(Array.from({ length: Math.min(sheetCount, images.size) }, (_, i) => i))).captions];
}

/** Prepares one part of `tastemaker pretrain`. Throws `UsageError` for bad settings or data. */
export async function prepareStage(part: "vae" | "unet" | "clip" | "blip" | "judge", request: StageRequest): Promise<PreparedStage> {
  const { data, seed, config, assignments, backend } = request;
  if (part === "vae") {
    const settings = await loadSettings(vaeSettings, config, assignments);
    const { training, heldOut } = await openImages(data, seed, settings.imageSize);
    const start = settings.from === undefined ? undefined : await readValues(settings.from, "diffusion_pytorch_model.safetensors", "");
    return { stage: vaeStage(settings, training, heldOut, seed, backend, start), settings };
  }
  if (part === "clip") {
    const settings = await loadSettings(clipSettings, config, assignments);
    const { training, heldOut } = await openImages(data, seed, settings.imageSize);
    const start = settings.from === undefined ? undefined : await readValues(settings.from, "model.safetensors", "");
    return { stage: clipStage(settings, training, heldOut, tokensFor(data, training), seed, backend, start), settings };
  }
  if (part === "blip") {
    const settings = await loadSettings(blipSettings, config, assignments);
    const { training, heldOut } = await openImages(data, seed, settings.imageSize);
    const start = settings.from === undefined ? undefined : await readValues(settings.from, "model.safetensors", "");
    return { stage: blipStage(settings, training, heldOutPairs(heldOut), bertCaptionsFor(data, training), seed, backend, start), settings };
  }
  if (part === "judge") {
    const settings = await loadSettings(judgeSettings, config, assignments);
    const { training, heldOut } = await openImages(data, seed, settings.imageSize);
    if (!(training instanceof EmojiImages) || !(heldOut instanceof EmojiImages)) {
      throw new UsageError("data-unlabelled", `judge: expected pictures with labels, got ${data}`, "only --data emoji has them");
    }
    const start = settings.from === undefined ? undefined : await readValues(settings.from, "model.safetensors", "");
    // Another seed: other renders than those of `heldOut`, which measure it.
    const unseen = await EmojiImages.open(worldFolder, { seed: seed + 1, split: "held-out" });
    return { stage: judgeStage(settings, training, unseen, heldOut, backend, start), settings };
  }
  const settings = await loadSettings(unetSettings, config, assignments);
  const { training, heldOut } = await openImages(data, seed, settings.imageSize);
  const vae = await openAutoencoder(settings.vae);
  const cache = await cacheLatents(training, settings.cache, vae, request.cacheFolder, backend);
  const { from } = settings;
  const start =
    from === undefined
      ? undefined
      : new Map([
          ...(await readValues(join(from, "unet"), "diffusion_pytorch_model.safetensors", "unet.")),
          ...(await readValues(join(from, "text_encoder"), "model.safetensors", "text_encoder.")),
        ]);
  const stage = unetStage(settings, cache, vae, tokensFor(data, training), await sheetPrompts(data, heldOut), seed, backend, start);
  return { stage: withFiles(stage, await pipelineFiles("StableDiffusionPipeline", [["vae", settings.vae]])), settings };
}

/** The stage, whose finished model has further files. */
function withFiles(stage: Stage, files: ReadonlyMap<string, string | Uint8Array>): Stage {
  return { ...stage, finish: async (average) => new Map([...files, ...(await stage.finish(average))]) };
}

/** `model_index.json` and the parts that are taken over unchanged, so that a finished model is a whole diffusers directory. */
async function pipelineFiles(pipeline: "StableDiffusionPipeline" | "LatentConsistencyModelPipeline", parts: readonly (readonly [name: string, folder: string])[]): Promise<Map<string, string | Uint8Array>> {
  const files = new Map<string, string | Uint8Array>([["model_index.json", pipelineIndex(pipeline)]]);
  for (const [name, folder] of parts) {
    for (const file of await readdir(folder)) files.set(`${name}/${file}`, await readFile(join(folder, file)));
  }
  return files;
}

/** Folders of a teacher's parts. The embedded world's teacher shares all but the U-Net with its student. */
function teacherFolders(name: string): { readonly unet: string; readonly shared: string } {
  return name === worldName ? { unet: join(worldPart("teacher"), "unet"), shared: worldPart("lcm") } : { unet: join(name, "unet"), shared: name };
}

/** Opens a diffusion model as a teacher. */
async function openTeacher(folders: ReturnType<typeof teacherFolders>, captionIds: CaptionTokens, backend: Backend): Promise<Teacher> {
  const net = await openComponent(folders.unet);
  const text = await openComponent(join(folders.shared, "text_encoder"), "model.safetensors");
  const config = parseUNetConfig(net.json);
  const textConfig = parseClipTextConfig(text.json);
  const values = new Map(
    unetParameters(config).map(({ key, shape }) => {
      const { node } = net.scope.get(key, shape);
      return [key, readNodeWeight(node.attributes["source"] as Parameters<typeof readNodeWeight>[0])];
    }),
  );
  const count = 16;
  const { hidden } = clipText(text.scope, textConfig, input("ids", [count, captionIds.length], "int32"));
  const executable = await backend.compile(program({ hidden }));
  const known = new Map<string, Float32Array>();
  const size = captionIds.length * textConfig.width;
  return {
    unet: { scope: net.scope, config, json: net.json },
    values,
    vae: await openAutoencoder(join(folders.shared, "vae")),
    contextShape: [captionIds.length, textConfig.width],
    contexts: async (captions) => {
      const missing = [...new Set(captions)].filter((caption) => !known.has(caption));
      for (let start = 0; start < missing.length; start += count) {
        const part = missing.slice(start, start + count);
        const padded = [...part, ...new Array<string>(count - part.length).fill("")];
        const outputs = await executable.run({ ids: captionIds.ids(padded) });
        part.forEach((caption, i) => known.set(caption, (outputs["hidden"]!.data as Float32Array).slice(i * size, (i + 1) * size)));
      }
      const result = new Float32Array(captions.length * size);
      captions.forEach((caption, i) => result.set(known.get(caption)!, i * size));
      return result;
    },
  };
}

/** Prepares `tastemaker distill`. `teacher` is `emoji`, a diffusers folder, or a repository of the hub. */
export async function prepareDistillation(teacherName: string, request: StageRequest, fetching: LocateOptions = {}): Promise<PreparedStage> {
  const { data, seed, config, assignments, backend } = request;
  const settings = await loadSettings(distillSettings, config, assignments);
  const { training, heldOut } = await openImages(data, seed, settings.imageSize);
  const folders = teacherFolders(isRemoteName(teacherName) ? await locateWeights(teacherName, neededForPipeline, fetching) : teacherName);
  const tokenizer = await openClipTokenizer(await openNodeFolder(folders.shared), "tokenizer/");
  const teacher = await openTeacher(folders, tokensOf(tokenizer), backend);
  const cache = await cacheLatents(training, settings.cache, teacher.vae, request.cacheFolder, backend);
  const start = settings.from === undefined ? undefined : await readValues(settings.from, "diffusion_pytorch_model.safetensors", "unet.");
  const stage = distillStage(settings, teacher, cache, await sheetPrompts(data, heldOut), seed, settings.workers, backend, start);
  const kept = ["vae", "text_encoder", "tokenizer"].map((part) => [part, join(folders.shared, part)] as const);
  return { stage: withFiles(stage, await pipelineFiles("LatentConsistencyModelPipeline", kept)), settings: { ...settings, teacher: teacherName } };
}
