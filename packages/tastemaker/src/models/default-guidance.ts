import { worldName } from "./emoji-world.ts";

/** Where nobody says otherwise: the paper's scale for Stable Diffusion's consistency models. */
export const usualGuidanceScale = 8;
/** The scale at which `tastemaker world check` finds the embedded model best. */
export const worldGuidanceScale = 3;

/** Classifier-free guidance of diffusion models: what DDPO's, DPOK's and D3PO's code sample with. */
export const diffusionGuidanceScale = 5;

/** Sampling steps where nobody says otherwise: of consistency models, and of diffusion models with DDIM. */
export const consistencySteps = 8;
export const diffusionSteps = 20;

/** The guidance scale of a consistency model, by its name as the person gave it, when none is said. */
export function defaultGuidanceScale(model: string): number {
  return model === worldName ? worldGuidanceScale : usualGuidanceScale;
}
