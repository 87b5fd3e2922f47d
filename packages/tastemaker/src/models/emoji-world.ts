import { fileURLToPath } from "node:url";
import { join } from "node:path";

/** Name that stands for the embedded world wherever a model or a reward is named. */
export const worldName = "emoji";

/** Folder of the embedded world; the same place seen from the sources and from the compiled package. */
export const worldFolder: string = fileURLToPath(new URL("../../../../worlds/emoji", import.meta.url));

/** Folder of a part of the embedded world: the consistency model, its teacher, the CLIP, the taste head. */
export function worldPart(part: "lcm" | "teacher" | "clip" | "aesthetic" | "judge"): string {
  return join(worldFolder, part);
}
