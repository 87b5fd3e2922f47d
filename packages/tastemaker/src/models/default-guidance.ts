import { worldName } from "./emoji-world.ts";

/** Where nobody says otherwise: the paper's scale for Stable Diffusion's consistency models. */
export const usualGuidanceScale = 8;
/** The scale at which `tastemaker world check` finds the embedded model best. */
export const worldGuidanceScale = 3;

/** The guidance scale of a model, by its name as the person gave it, when none is said. */
export function defaultGuidanceScale(model: string): number {
  return model === worldName ? worldGuidanceScale : usualGuidanceScale;
}
