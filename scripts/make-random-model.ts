// Writes a latent consistency model and a PickScore of the published models' shapes (LCM_Dreamshaper_v7, CLIP ViT-H/14) with random weights, for measurements:
//   npx tsx --conditions=@tastemaker/source scripts/make-random-model.ts FOLDER [--dtype fp32|fp16] [--variant fp16] [--seed 0]
// Result: FOLDER/lcm (diffusers layout) and FOLDER/pickscore (CLIPModel), 8.2 GB as fp32; a few minutes. Files that are there are kept.
import { parseArgs } from "node:util";
import { writeFullSizeModels } from "../bench/support/full-size-model.ts";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { dtype: { type: "string", default: "fp32" }, variant: { type: "string" }, seed: { type: "string", default: "0" } },
});
const [folder] = positionals;
const { dtype, variant } = options;
if (folder === undefined || (dtype !== "fp16" && dtype !== "fp32")) {
  process.stderr.write("make-random-model: expected a folder and --dtype fp32 or fp16\n");
  process.exit(2);
}
writeFullSizeModels(folder, { dtype, variant, seed: Number(options.seed), note: (text) => process.stdout.write(`${text}\n`) });
