import { UsageError } from "@tastemaker/tensor";
import { asJsonObject, type Folder, type RandomAccessFile } from "./random-access-file.ts";

/**
 * Names of the weight files of one component of a model, whole or in shards: safetensors where there are any, else PyTorch's `.bin`.
 *
 * @param prefix Folder of the component with a slash, or "".
 * @param stem `diffusion_pytorch_model` or `model`, which is `pytorch_model` in PyTorch's format.
 * @param variant E.g. `fp16`; default: the unnamed files, else fp16.
 * @throws UsageError `weights-missing`, `shard-name`
 */
export async function findWeightFiles(folder: Folder, prefix: string, stem: string, variant?: string): Promise<string[]> {
  const suffixes = variant === undefined ? ["", ".fp16"] : [`.${variant}`, ""];
  const pickleStem = stem === "model" ? "pytorch_model" : stem;
  const tried: string[] = [];
  for (const [name, extension] of [[stem, "safetensors"], [pickleStem, "bin"]] as const) {
    for (const suffix of suffixes) {
      const whole = `${prefix}${name}${suffix}.${extension}`;
      if (await folder.has(whole)) return [whole];
      const index = `${prefix}${name}.${extension}.index${suffix}.json`;
      if (await folder.has(index)) return shardsOf(folder, prefix, index, extension);
      tried.push(whole);
    }
  }
  throw new UsageError("weights-missing", `weights: expected one of ${tried.join(", ")}, got none (at ${folder.path})`, "fetch the weight files of the model, or save it with save_pretrained");
}

/** Opens what `findWeightFiles` finds. @throws UsageError `weights-missing`, `shard-name`, `file-missing` */
export async function openWeightFiles(folder: Folder, prefix: string, stem: string, variant?: string): Promise<RandomAccessFile[]> {
  return Promise.all((await findWeightFiles(folder, prefix, stem, variant)).map((name) => folder.open(name)));
}

/** The shards that an index names, in the order of their names. */
async function shardsOf(folder: Folder, prefix: string, index: string, extension: string): Promise<string[]> {
  const where = `${folder.path}/${index}`;
  const map = asJsonObject(asJsonObject(await folder.readJson(index), where)["weight_map"], `weight_map of ${where}`);
  const names = [...new Set(Object.values(map))].map((name) => {
    if (typeof name !== "string" || !/^[\w-][\w.-]*$/.test(name) || !name.endsWith(`.${extension}`)) {
      throw new UsageError("shard-name", `weights: expected names of .${extension} shards, got ${JSON.stringify(name)?.slice(0, 80)} (at ${where})`);
    }
    return `${prefix}${name}`;
  });
  return names.sort();
}
