import { fileURLToPath } from "node:url";
import type { CaptionedImages } from "../data/captioned-images.ts";
import { ImageFolder } from "../data/image-folder.ts";
import { EmojiImages } from "../worlds/emoji/emoji-images.ts";

/** Folder of the embedded world in the source tree. */
export const emojiWorldFolder: string = fileURLToPath(new URL("../../../../worlds/emoji", import.meta.url));

/** Pictures to train on and pictures to look at; for a folder they are the same. */
export interface ImageSplits {
  readonly training: CaptionedImages<unknown>;
  readonly heldOut: CaptionedImages<unknown>;
}

/** Opens `emoji` (the generator of the embedded world) or a folder of captioned pictures. Throws `UsageError`. */
export async function openImages(source: string, seed: number, imageSize = 64): Promise<ImageSplits> {
  if (source === "emoji") {
    return {
      training: await EmojiImages.open(emojiWorldFolder, { seed }),
      heldOut: await EmojiImages.open(emojiWorldFolder, { seed, split: "held-out" }),
    };
  }
  const folder = await ImageFolder.open(source, imageSize);
  return { training: folder, heldOut: folder };
}
