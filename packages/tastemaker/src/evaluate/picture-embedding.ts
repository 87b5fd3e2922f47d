import { clipImageEmbedding, type Picture, type Preprocessing } from "@tastemaker/diffusion";
import { type Backend, type Executable, input, program } from "@tastemaker/tensor";
import { locateWeights, type LocateOptions } from "../hub/locate-weights.ts";
import { neededForClipTowers } from "../hub/needed-files.ts";
import { worldName, worldPart } from "../models/emoji-world.ts";
import { openClipNetwork } from "../rewards/clip-network.ts";
import { clipKindPreprocessing } from "../rewards/clip-reward.ts";
import type { MetricSetting } from "./metric-list.ts";

/** The picture tower of a CLIP: where diversity and nearness are measured. */
export interface PictureEmbedding {
  /** Folder, file or name of the hub. */
  readonly path: string;
  readonly files: readonly string[];
  readonly preprocessing: string;
  /** The embedding of a picture, not normalised. */
  of(picture: Picture): Promise<Float32Array>;
  dispose(): Promise<void>;
}

/** The CLIP for pictures of a model: the embedded world's own, else that of the first CLIP score among the metrics; undefined when there is none. */
export function embeddingPath(model: string, metrics: readonly MetricSetting[]): string | undefined {
  const given = metrics.find(({ name, path }) => (name === "clip-score" || name === "clip-score-100") && path !== undefined && path !== worldName)?.path;
  return given ?? (model === worldName ? worldPart("clip") : undefined);
}

/**
 * Opens the picture tower of a CLIP, compiled at the first use; one picture at a time, so that numbers do not depend on company.
 * @throws UsageError whatever the files give reason to
 */
export async function openPictureEmbedding(path: string, backend: Backend, fetching: LocateOptions): Promise<PictureEmbedding> {
  const clip = await openClipNetwork(await locateWeights(path, neededForClipTowers, { ...fetching, what: "CLIP of diversity and distance" }));
  const preprocessing: Preprocessing = await clipKindPreprocessing("clip-score", clip);
  let executable: Promise<Executable> | undefined;
  const compile = (): Promise<Executable> => {
    const { size } = preprocessing;
    return backend.compile(program({ embedding: clipImageEmbedding(clip.scope(), clip.config, input("pixel_values", [1, 3, size, size])) }));
  };
  return {
    path,
    files: clip.files,
    preprocessing: preprocessing.describe,
    of: async (picture) => {
      executable ??= compile();
      const { embedding } = await (await executable).run({ pixel_values: preprocessing.pixelValues(picture) });
      return Float32Array.from(embedding!.data);
    },
    dispose: async () => {
      const compiled = executable;
      executable = undefined;
      await (await compiled)?.dispose();
    },
  };
}
