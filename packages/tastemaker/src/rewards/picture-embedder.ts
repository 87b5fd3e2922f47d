import { clipImageEmbedding, type Picture, unitRows } from "@tastemaker/diffusion";
import { type Backend, type Executable, input, program } from "@tastemaker/tensor";
import { type ClipNetwork, clipPreprocessing } from "./clip-network.ts";

/** Pictures as points of a CLIP's common space. */
export interface PictureEmbedder {
  /** Absolute paths of the weight files. */
  readonly files: readonly string[];
  /** How a picture becomes the model's input, in words. */
  readonly preprocessing: string;
  /** Embeddings of length 1, one per picture. */
  embed(pictures: readonly Picture[]): Promise<Float32Array[]>;
  dispose(): Promise<void>;
}

/**
 * The picture tower of a CLIP; compiled at the first use, one picture at a time so that numbers do not depend on company.
 * @throws UsageError whatever its files give reason to
 */
export async function openPictureEmbedder(clip: ClipNetwork, backend: Backend): Promise<PictureEmbedder> {
  const { size, describe, pixelValues } = await clipPreprocessing(clip, "half-even");
  let executable: Promise<Executable> | undefined;
  const compile = (): Promise<Executable> => {
    const embedding = unitRows(clipImageEmbedding(clip.scope(), clip.config, input("pixel_values", [1, 3, size, size])));
    return backend.compile(program({ embedding }));
  };
  return {
    files: clip.files,
    preprocessing: describe,
    embed: async (pictures) => {
      executable ??= compile();
      const rows: Float32Array[] = [];
      for (const picture of pictures) {
        const { embedding } = await (await executable).run({ pixel_values: pixelValues(picture) });
        rows.push(Float32Array.from(embedding!.data));
      }
      return rows;
    },
    dispose: async () => {
      const compiled = executable;
      executable = undefined;
      await (await compiled)?.dispose();
    },
  };
}
