import { existsSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { asJsonObject, type Checkpoint, encodeSafetensors, loadCheckpoint, parseJson } from "@tastemaker/diffusion";
import { type Backend, weight } from "@tastemaker/tensor";
import { openNodeFolder } from "../platform/node-files.ts";
import { type HeadConfig, headScore, isOwnHead, readOwnHead } from "../rewards/aesthetic-reward.ts";
import { openClipNetwork } from "../rewards/clip-network.ts";
import { openPictureEmbedder } from "../rewards/picture-embedder.ts";
import type { OpenedFit } from "./fit-model.ts";

/** A new head: one hidden layer, as the world's taste head. */
const newHead = { layers: [128, 1], activation: "gelu" } as const satisfies Pick<HeadConfig, "layers" | "activation">;

/** Whether a folder is a head rather than a CLIP: its `config.json` has `layers`. */
async function isHead(path: string): Promise<boolean> {
  if (!existsSync(join(path, "config.json")) || !isOwnHead(path)) return false;
  const folder = await openNodeFolder(path);
  const where = `${folder.path}/config.json`;
  return "layers" in asJsonObject(parseJson(await folder.readText("config.json"), where), where);
}

/**
 * An aesthetic head on the picture embedding of a frozen CLIP, trained on choices (Bradley–Terry). Each picture is embedded once.
 *
 * @param from A CLIP, for a new head, or a head made here. @param out Where the head will lie: it names its CLIP relative to that.
 * @throws UsageError whatever the files give reason to
 */
export async function aestheticFit(from: string, out: string, backend: Backend): Promise<OpenedFit> {
  const head = (await isHead(from)) ? await readOwnHead(from) : undefined;
  const { layers, activation } = head?.config ?? newHead;
  const weights: Checkpoint | undefined = head === undefined ? undefined : await loadCheckpoint([head.file]);
  const clip = await openClipNetwork(head?.clip ?? from);
  const embedder = await openPictureEmbedder(clip, backend);
  return {
    name: "aesthetic",
    path: resolve(from),
    weightFiles: [...clip.files, ...(head === undefined ? [] : [head.file.name])],
    usualRate: 1e-3,
    // Begins from nothing, and a visit costs next to nothing.
    usualPasses: 40,
    picture: { shape: [clip.config.projection], row: async (picture) => (await embedder.embed([picture]))[0]!, keeps: "row" },
    isTrained: () => true,
    stored: (key, shape) => (weights === undefined ? undefined : weight(weights.take(key, shape))),
    textInputs: () => ({}),
    textsOf: () => ({}),
    score: (scope, pictures) => headScore(scope, { layers, activation }, pictures),
    files: async (values, parameters) => {
      const json = {
        clip: relative(resolve(out), clip.path) || ".",
        layers,
        activation,
        unit: "logits",
        source: "a small network on the picture embedding of a frozen CLIP, trained on choices between pictures (Bradley-Terry)",
      };
      const tensors = new Map(parameters.map(({ key, shape }) => [key, { dtype: "F16" as const, shape, data: values.get(key)! }]));
      return Promise.resolve(
        new Map<string, string | Uint8Array>([
          ["config.json", `${JSON.stringify(json, null, 2)}\n`],
          ["model.safetensors", encodeSafetensors(tensors, new Map([["format", "pt"]]))],
        ]),
      );
    },
    dispose: () => embedder.dispose(),
  };
}
