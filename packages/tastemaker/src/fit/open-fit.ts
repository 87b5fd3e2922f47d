import { existsSync } from "node:fs";
import { type Backend, UsageError } from "@tastemaker/tensor";
import type { RewardFitOptions } from "../cli/commands/reward.ts";
import { isRemoteName } from "../hub/locate-weights.ts";
import { worldName, worldPart } from "../models/emoji-world.ts";
import { aestheticFit } from "./aesthetic-fit.ts";
import { blipFit } from "./blip-fit.ts";
import { clipFit } from "./clip-fit.ts";
import type { OpenedFit } from "./fit-model.ts";

/** What to do where a fit's beginning is not on this disk. */
function missingCure(from: string): string {
  if (from === worldName) return "the embedded world's weights are not built; run `npm run world`";
  return isRemoteName(from) ? `run \`tastemaker fetch ${from}\`, and give the path that it prints` : "check --from";
}

/** Opens what a fit begins with. @throws UsageError `weights-missing`, `weights-name`, `weights-address`, `option-invalid` and whatever the files give reason to */
export async function openFit({ kind, from, out, vocabulary, trainLayers }: Pick<RewardFitOptions, "kind" | "from" | "out" | "vocabulary" | "trainLayers">, backend: Backend): Promise<OpenedFit> {
  const path = from === worldName ? worldPart(kind === "image-reward" ? "blip" : "clip") : from;
  if (!existsSync(path)) throw new UsageError("weights-missing", `reward fit: expected an existing folder or file, got nothing (at ${path})`, missingCure(from));
  if (kind === "image-reward") return blipFit(path, vocabulary, trainLayers);
  if (kind === "pick-score" || kind === "hpsv2") return clipFit(kind, path, vocabulary, trainLayers);
  if (trainLayers !== undefined || vocabulary !== undefined) throw new UsageError("option-invalid", `reward fit --kind aesthetic: expected no ${trainLayers === undefined ? "--vocabulary" : "--train-layers"}, got one`, "its CLIP is frozen and reads no text; only the head is trained");
  return aestheticFit(path, out, backend);
}
