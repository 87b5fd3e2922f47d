import { fileURLToPath } from "node:url";
import { join } from "node:path";

/** Name that stands for the embedded world wherever a model or a reward is named. */
export const worldName = "emoji";

/** Name of the diffusion model that the embedded world's consistency model was distilled from, for objectives that need one. */
export const worldTeacherName = "emoji-teacher";

/** Whether a model's name means one of the embedded world, whose prompts, rewards and metrics then are the defaults. */
export function isWorldModel(name: string | undefined): boolean {
  return name === worldName || name === worldTeacherName;
}

/** Folder of the embedded world; the same place seen from the sources and from the compiled package. */
export const worldFolder: string = fileURLToPath(new URL("../../../../worlds/emoji", import.meta.url));

/** Folder of a part of the embedded world: the consistency model, its teacher, the CLIP, the BLIP, the taste head, the judge, the rewards fitted to its preference set. */
export function worldPart(part: "lcm" | "teacher" | "clip" | "blip" | "aesthetic" | "judge" | "pick-score" | "hpsv2" | "image-reward"): string {
  return join(worldFolder, part);
}
