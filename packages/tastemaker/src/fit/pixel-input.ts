import type { Preprocessing } from "@tastemaker/diffusion";
import type { PictureInput } from "./pair-pictures.ts";

/** Pictures as the library path of a reward's preprocessing gives them: training needs no gradient by the picture, so it reads exactly what scoring reads. */
export function pixelInput({ size, pixelValues }: Preprocessing): PictureInput {
  return { shape: [3, size, size], row: pixelValues, keeps: "picture" };
}
