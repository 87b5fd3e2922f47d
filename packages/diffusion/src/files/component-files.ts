import { UsageError } from "@tastemaker/tensor";
import { asJsonObject, type Folder, type RandomAccessFile } from "./random-access-file.ts";

/**
 * The weight files of one component of a model, whole or in shards: safetensors where there are any, else PyTorch's `.bin`.
 *
 * @param prefix Folder of the component with a slash, or "".
 * @param stem `diffusion_pytorch_model` or `model`, which is `pytorch_model` in PyTorch's format.
 * @param variant E.g. `fp16`; default: the unnamed files, else fp16.
 * @throws UsageError `weights-missing`, `shard-name`
 */
export async function openWeightFiles(folder: Folder, prefix: string, stem: string, variant?: string): Promise<RandomAccessFile[]> {
  const suffixes = variant === undefined ? ["", ".fp16"] : [`.${variant}`, ""];
  const pickleStem = stem === "model" ? "pytorch_model" : stem;
  const tried: string[] = [];
  for (const [name, extension] of [[stem, "safetensors"], [pickleStem, "bin"]] as const) {
    for (const suffix of suffixes) {
      const whole = `${prefix}${name}${suffix}.${extension}`;
      if (await folder.has(whole)) return [await folder.open(whole)];
      const index = `${prefix}${name}.${extension}.index${suffix}.json`;
      if (await folder.has(index)) return openShards(folder, prefix, index, extension);
      tried.push(whole);
    }
  }
  throw new UsageError("weights-missing", `weights: expected one of ${tried.join(", ")}, got none (at ${folder.path})`, "fetch the weight files of the model, or save it with save_pretrained");
}

/** The shards that an index names, in the order of their names. */
async function openShards(folder: Folder, prefix: string, index: string, extension: string): Promise<RandomAccessFile[]> {
  const where = `${folder.path}/${index}`;
  const map = asJsonObject(asJsonObject(await folder.readJson(index), where)["weight_map"], `weight_map of ${where}`);
  const names = [...new Set(Object.values(map))].map((name) => {
    if (typeof name !== "string" || !/^[\w-][\w.-]*$/.test(name) || !name.endsWith(`.${extension}`)) {
      throw new UsageError("shard-name", `weights: expected names of .${extension} shards, got ${JSON.stringify(name)?.slice(0, 80)} (at ${where})`);
    }
    return name;
  });
  return Promise.all(names.sort().map((name) => folder.open(`${prefix}${name}`)));
}
