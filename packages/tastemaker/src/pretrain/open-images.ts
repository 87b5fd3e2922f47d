import type { CaptionedImages } from "../data/captioned-images.ts";
import { ImageFolder } from "../data/image-folder.ts";
import { worldFolder } from "../models/emoji-world.ts";
import { EmojiImages } from "../worlds/emoji/emoji-images.ts";
import { imageSize as emojiSize } from "../worlds/emoji/renderer.ts";
import { UsageError } from "@tastemaker/tensor";

/** Pictures to train on and pictures to look at; for a folder they are the same. */
export interface ImageSplits {
  readonly training: CaptionedImages<unknown>;
  readonly heldOut: CaptionedImages<unknown>;
}

/** Opens `emoji` (the generator of the embedded world) or a folder of captioned pictures. Throws `UsageError`. */
export async function openImages(source: string, seed: number, imageSize: number): Promise<ImageSplits> {
  if (source === "emoji") {
    if (imageSize !== emojiSize) throw new UsageError("image-size", `pictures: expected imageSize ${emojiSize} for the emoji world, got ${imageSize}`);
    return {
      training: await EmojiImages.open(worldFolder, { seed }),
      heldOut: await EmojiImages.open(worldFolder, { seed, split: "held-out" }),
    };
  }
  const folder = await ImageFolder.open(source, imageSize);
  return { training: folder, heldOut: folder };
}
