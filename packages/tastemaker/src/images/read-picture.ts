import { open } from "node:fs/promises";
import type { Picture } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import sharp, { type Metadata, type OutputInfo, type Sharp, type SharpOptions } from "sharp";

/** Larger pictures are refused before they are decoded: the size from which Pillow, too, suspects a decompression bomb. */
const mostPixels = 89_478_485;

/** Of a side, in pixels: what a JPEG can hold. Longer ones are no pictures, and slow to decode. */
const longestSide = 65_535;

const options: SharpOptions = { ignoreIcc: true, failOn: "error", limitInputPixels: mostPixels };

interface Raw {
  readonly data: Buffer;
  readonly info: OutputInfo;
}

/** Samples in the space that they are stored in, without any colour management. */
function storedSamples(image: Sharp, space: string, depth: "uchar" | "ushort"): Promise<Raw> {
  return image.pipelineColourspace(space).toColourspace(space).raw({ depth }).toBuffer({ resolveWithObject: true });
}

/** Pillow's conversion, which knows no inks: r = (1 − c)(1 − k) in integers. */
function rgbOfCmyk({ data, info }: Raw): Picture {
  const { width, height } = info;
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    const white = 255 - data[4 * i + 3]!;
    for (let c = 0; c < 3; c++) {
      const product = data[4 * i + c]! * white + 128;
      pixels[3 * i + c] = white - ((product + (product >> 8)) >> 8);
    }
  }
  return { height, width, pixels };
}

/** Pillow's conversion of grey with 16 bits: what is above 255 is white. */
function rgbOfDeepGrey({ data, info }: Raw): Picture {
  const { width, height, channels } = info;
  const samples = new Uint16Array(data.buffer, data.byteOffset, data.length / 2);
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) pixels.fill(Math.min(255, samples[i * channels]!), 3 * i, 3 * i + 3);
  return { height, width, pixels };
}

/** Whether a PNG of grey samples has no alpha channel of its own; one transparent grey may be marked all the same. */
async function isPlainGrey(source: string | Uint8Array): Promise<boolean> {
  const colourType = 25;
  if (typeof source !== "string") return source[colourType] === 0;
  const file = await open(source);
  try {
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, colourType);
    return buffer[0] === 0;
  } finally {
    await file.close();
  }
}

/** What cannot be decoded as Pillow does, in words; undefined when everything is fine. */
function unsupported({ format, space, depth, hasAlpha }: Metadata): string | undefined {
  if (format === "png" || format === "jpeg" || format === "webp") return undefined;
  if (format === "gif") return hasAlpha ? "a GIF with transparency" : undefined;
  if (format === "tiff") return depth === "uchar" && (space === "srgb" || space === "b-w") && !hasAlpha ? undefined : `a TIFF with ${space} samples (${depth})`;
  return `a picture of format ${format}`;
}

/**
 * Decodes a picture as Pillow's `convert("RGB")` does: colour profiles and orientation tags are not applied, transparency is dropped; only the first frame of several counts.
 *
 * @param source A file, or the bytes of one. @param name For messages.
 * @throws UsageError `picture-unreadable`
 */
export async function readPicture(source: string | Uint8Array, name: string): Promise<Picture> {
  try {
    const image = sharp(source, options);
    const metadata = await image.metadata();
    if (Math.max(metadata.width, metadata.height) > longestSide) throw new Error(`a side of more than ${longestSide} pixels`);
    const other = unsupported(metadata);
    if (other !== undefined) throw new Error(other);
    if (metadata.space === "cmyk") return rgbOfCmyk(await storedSamples(image, "cmyk", "uchar"));
    if (metadata.space === "grey16" && (metadata.channels === 1 || (await isPlainGrey(source)))) return rgbOfDeepGrey(await storedSamples(image, "grey16", "ushort"));
    const { data, info } = await image.toColourspace("srgb").removeAlpha().raw().toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`${info.channels} channels`);
    return { height: info.height, width: info.width, pixels: new Uint8Array(data.buffer, data.byteOffset, data.length) };
  } catch (error) {
    const { message } = error as Error;
    const got = message.includes("exceeds pixel limit") ? `more than ${mostPixels} pixels` : message.trim().replaceAll(/\s+/g, " ");
    throw new UsageError("picture-unreadable", `picture: expected a readable PNG, JPEG or WebP, got: ${got} (at ${name})`, "check the path, or repair the file");
  }
}

/** The picture of a PNG file as we write them, three channels of 8 bits; undefined when it is anything else. */
export async function decodePng(bytes: Uint8Array): Promise<Picture | undefined> {
  try {
    const { data, info } = await sharp(bytes, { ...options, failOn: "warning" }).raw().toBuffer({ resolveWithObject: true });
    return info.channels === 3 ? { height: info.height, width: info.width, pixels: data } : undefined;
  } catch {
    return undefined;
  }
}
