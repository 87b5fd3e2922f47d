import type { Picture } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import sharp from "sharp";

/**
 * Decodes a picture as Pillow's `convert("RGB")` does: colour profiles and orientation tags are not applied, transparency is dropped.
 *
 * @param source A file, or the bytes of one. @param name For messages.
 * @throws UsageError `picture-unreadable`
 */
export async function readPicture(source: string | Uint8Array, name: string): Promise<Picture> {
  try {
    const { data, info } = await sharp(source, { ignoreIcc: true, failOn: "error" }).toColourspace("srgb").removeAlpha().raw().toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`${info.channels} channels`);
    return { height: info.height, width: info.width, pixels: new Uint8Array(data.buffer, data.byteOffset, data.length) };
  } catch (error) {
    throw new UsageError("picture-unreadable", `picture: expected a readable PNG, JPEG or WebP, got: ${(error as Error).message} (at ${name})`, "check the path, or repair the file");
  }
}
