import type { EvaluationFile } from "./record.ts";

/** Folder of the pictures below an evaluation's folder. */
export const picturesFolder = "pictures";

type Named = Pick<EvaluationFile, "settings" | "prompts"> & { readonly variants: readonly { readonly label: string }[] };

/** Folder of a variant's pictures below `pictures/`, e.g. `1-first-step-60`. */
export function variantFolder({ variants }: Named, variant: number): string {
  const words = variants[variant]!.label.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-+|-+$/g, "").slice(0, 40);
  return `${variant}${words === "" ? "" : `-${words}`}`;
}

/** File name of a picture: prompt and seed number, e.g. `007-1.png`. */
export function pictureName({ settings, prompts }: Named, place: number): string {
  const width = String(prompts.texts.length - 1).length;
  return `${String(Math.floor(place / settings.seeds)).padStart(width, "0")}-${place % settings.seeds}.png`;
}
