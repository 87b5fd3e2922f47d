import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { asJsonObject, type Checkpoint, fileMissingError, type Folder, loadCheckpoint, parseJson } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import { z } from "zod";
import { openNodeFile, openNodeFolder } from "../platform/node-files.ts";

const towerSchema = z.looseObject({ heads: z.int().min(1).optional(), image_size: z.int().min(1).optional(), layer_norm_eps: z.number().gt(0).optional() }).default({});

/** `config.json` beside a checkpoint file: what its weights do not tell. Every field may be absent; others are notes. */
const architectureSchema = z.looseObject({
  activation: z.enum(["gelu", "quick_gelu"]).optional(),
  /** Of both towers; a tower's own wins. */
  layer_norm_eps: z.number().gt(0).optional(),
  vision: towerSchema,
  text: towerSchema,
  /** Of a head: the CLIP whose embeddings it judges, relative to this file. */
  clip: z.string().min(1).optional(),
});

export type RewardArchitecture = z.infer<typeof architectureSchema>;

/** What `openClip` and `openBlip` take alike; what is not told is absent. */
export function towerChoices({ vision, text, layer_norm_eps: eps }: RewardArchitecture): { visionHeads?: number; textHeads?: number; visionEps?: number; textEps?: number; imageSize?: number } {
  const told = { visionHeads: vision.heads, textHeads: text.heads, imageSize: vision.image_size, visionEps: vision.layer_norm_eps ?? eps, textEps: text.layer_norm_eps ?? eps };
  return Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined));
}

/** A checkpoint that is one file, with its folder. */
export interface RewardFile {
  /** Absolute path. */
  readonly path: string;
  readonly weights: Checkpoint;
  readonly architecture: RewardArchitecture;
  /** Where vocabularies may lie. */
  readonly folder: Folder;
}

const weightFile = /\.(?:pt|pth|bin|ckpt|safetensors)$/;

/**
 * The one weight file that a path means: itself, or the only one in a folder.
 * @throws UsageError `file-missing`, `reward-weights-missing`, `reward-weights-several`
 */
async function findWeightFile(path: string): Promise<string> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) throw fileMissingError(path);
  if (!stats.isDirectory()) return path;
  const found = (await readdir(path)).filter((name) => weightFile.test(name) && !/^(?:inputs|expected)\.safetensors$/.test(name)).sort();
  if (found.length === 1) return join(path, found[0]!);
  if (found.length === 0) throw new UsageError("reward-weights-missing", `reward: expected a weight file (.pt, .pth, .bin, .safetensors), got none (at ${path})`);
  throw new UsageError("reward-weights-several", `reward: expected one weight file, got ${found.slice(0, 5).join(", ")} (at ${path})`, "name the file itself");
}

/**
 * Opens a checkpoint that is a single file of a published model, and the `config.json` beside it where there is one.
 * @throws UsageError `reward-config` and whatever the files give reason to
 */
export async function openRewardFile(path: string): Promise<RewardFile> {
  const file = await openNodeFile(await findWeightFile(path));
  const folder = await openNodeFolder(dirname(file.name));
  // A hub's snapshot is made of links: what lies beside the file lies beside the link, not beside what it points to.
  const beside = await openNodeFolder((await stat(path)).isDirectory() ? path : dirname(path));
  const source = (await beside.has("config.json")) ? beside : folder;
  let architecture: RewardArchitecture = { vision: {}, text: {} };
  if (await source.has("config.json")) {
    const where = `${source.path}/config.json`;
    const parsed = architectureSchema.safeParse(asJsonObject(parseJson(await source.readText("config.json"), where), where));
    if (!parsed.success) throw new UsageError("reward-config", `reward: expected {"activation", "vision": {"heads"}, "text": {"heads"}}, got ${z.prettifyError(parsed.error).replaceAll("\n", " ")} (at ${where})`, `it describes ${basename(file.name)}`);
    architecture = parsed.data;
  }
  return { path: file.name, weights: await loadCheckpoint([file]), architecture, folder: beside };
}
