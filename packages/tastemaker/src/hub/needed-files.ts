import { asJsonObject, checkDiffusersConfigs, diffusersWeightFiles, fileMissingError, findWeightFiles, type Folder, parseClipConfig } from "@tastemaker/diffusion";
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

/** What the tokenizers of rewards are read from; each kind has its own preference among them. */
export const vocabularyFiles = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "vocab.txt", "bpe_simple_vocab_16e6.txt.gz"] as const;

async function openThose(folder: Folder, names: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>();
  for (const name of names) {
    if (!(await folder.has(name))) continue;
    await folder.open(name);
    found.add(name);
  }
  return found;
}

/** The vocabulary of a tokenizer, without weights. @throws UsageError `file-missing` */
export const neededForVocabulary: NeededFiles = async (folder) => {
  const found = await openThose(folder, vocabularyFiles);
  const isWhole = ["tokenizer.json", "vocab.txt", "bpe_simple_vocab_16e6.txt.gz"].some((name) => found.has(name)) || (found.has("vocab.json") && found.has("merges.txt"));
  if (!isWhole) throw fileMissingError(`${folder.path}/${found.has("vocab.json") ? "merges.txt" : "tokenizer.json"}`);
  return [];
};

/** A transformers `CLIPModel` whose tokenizer, if any is needed, lies elsewhere. */
export const neededForClipTowers: NeededFiles = async (folder) => {
  parseClipConfig(asJsonObject(await folder.readJson("config.json"), `${folder.path}/config.json`));
  await openThose(folder, ["preprocessor_config.json", "processor_config.json"]);
  return findWeightFiles(folder, "", "model");
};

/** A transformers `CLIPModel` with its tokenizer. */
export const neededForClip: NeededFiles = async (folder) => {
  const weights = await neededForClipTowers(folder);
  await neededForVocabulary(folder);
  return weights;
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
