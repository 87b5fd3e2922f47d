import { asJsonObject, checkDiffusersConfigs, diffusersWeightFiles, findWeightFiles, type Folder, openClipTokenizer, parseClipConfig } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";

/**
 * Reads the small files of a model through `folder`, which fetches what is read, and names the large ones that are needed too. It asks with the functions that open the model
 * later, so that exactly their files are fetched.
 */
export type NeededFiles = (folder: Folder) => Promise<readonly string[]>;

/** A pipeline in the diffusers layout. */
export const neededForPipeline: NeededFiles = (folder) => diffusersWeightFiles(folder);

/** Configurations and tokenizer of a pipeline, for a checkpoint that is a single file. */
export const neededForConfigs: NeededFiles = async (folder) => {
  await checkDiffusersConfigs(folder);
  return [];
};

/** A transformers `CLIPModel` with its tokenizer. */
export const neededForClip: NeededFiles = async (folder) => {
  parseClipConfig(asJsonObject(await folder.readJson("config.json"), `${folder.path}/config.json`));
  await openClipTokenizer(folder);
  return findWeightFiles(folder, "", "model");
};

/**
 * Whatever the folder holds: a pipeline or a CLIP.
 * @throws UsageError `weights-kind` for anything else
 */
export const neededForAny: NeededFiles = async (folder) => {
  if (await folder.has("model_index.json")) return neededForPipeline(folder);
  if (await folder.has("config.json")) {
    const { model_type: kind } = asJsonObject(await folder.readJson("config.json"), `${folder.path}/config.json`);
    if (kind === "clip") return neededForClip(folder);
  }
  throw new UsageError("weights-kind", `weights: expected a pipeline in the diffusers layout or a CLIPModel, got something else (at ${folder.path})`, "name one file of it: owner/name:file");
};
