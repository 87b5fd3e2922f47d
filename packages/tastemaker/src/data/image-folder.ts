import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import sharp from "sharp";
import { z } from "zod";
import { listFiles } from "../storage/list-files.ts";
import {
  type CaptionedImage,
  type CaptionedImageBatch,
  type CaptionedImages,
  collectBatch,
} from "./captioned-images.ts";

const pictureExtensions = [".png", ".jpg", ".jpeg", ".webp"];
const captionLists = ["captions.jsonl", "metadata.jsonl"];
const captionLine = z.object({ file_name: z.string().min(1), text: z.string() });

/** A picture of a folder with its caption. */
export interface CaptionedFile {
  /** Relative to the folder, with `/`. */
  readonly file: string;
  readonly caption: string;
}

/**
 * Pictures of a folder (subfolders too) with captions from `captions.jsonl` or `metadata.jsonl` (lines `{"file_name": …, "text": …}`), else
 * from a text file of the same name beside each picture. Sorted by name, so that an index means the same picture on every machine.
 */
export class ImageFolder implements CaptionedImages {
  readonly name: string;
  readonly size: number;
  readonly imageSize: number;
  readonly #directory: string;
  readonly #entries: readonly CaptionedFile[];

  private constructor(directory: string, entries: readonly CaptionedFile[], imageSize: number) {
    this.name = directory;
    this.size = entries.length;
    this.imageSize = imageSize;
    this.#directory = directory;
    this.#entries = entries;
  }

  /**
   * @param imageSize side to which the shortest side is resized (Lanczos) before the centre is cut out, px
   * @throws UsageError when the folder cannot be read, holds no pictures, or a caption is missing, empty or malformed (names the file).
   */
  static async open(directory: string, imageSize: number): Promise<ImageFolder> {
    if (!Number.isInteger(imageSize) || imageSize < 1)
      throw new UsageError(
        "image-size",
        `image folder: expected a size of at least 1 px, got ${imageSize}`,
      );
    const entries = await listCaptionedFiles(directory);
    return new ImageFolder(directory, entries, imageSize);
  }

  /** @throws UsageError `picture-unreadable`, naming the file. */
  async get(index: number): Promise<CaptionedImage> {
    const entry = this.#entries[index];
    if (entry === undefined)
      throw new RangeError(
        `image folder ${this.name}: expected an index in 0..${this.size - 1}, got ${index}`,
      );
    const path = join(this.#directory, entry.file);
    const side = this.imageSize;
    let rgb: Buffer;
    try {
      // White behind transparent pictures; orientation as the camera meant it.
      rgb = await sharp(path)
        .rotate()
        .flatten({ background: "#ffffff" })
        .toColourspace("srgb")
        .resize(side, side, { fit: "cover", position: "centre" })
        .removeAlpha()
        .raw()
        .toBuffer();
    } catch (error) {
      throw new UsageError(
        "picture-unreadable",
        `picture ${path}: expected a readable PNG, JPEG or WebP, got: ${(error as Error).message}`,
        "repair or remove it",
      );
    }
    const plane = side * side;
    const pixels = new Float32Array(3 * plane);
    for (let p = 0; p < plane; p++)
      for (let c = 0; c < 3; c++) pixels[c * plane + p] = rgb[3 * p + c]! / 255;
    return { caption: entry.caption, pixels, labels: undefined };
  }

  batch(indices: readonly number[]): Promise<CaptionedImageBatch> {
    return collectBatch(this, indices);
  }

  /** All captions in order: what a tokenizer is trained on. */
  captions(): string[] {
    return this.#entries.map(({ caption }) => caption);
  }
}

/** `listFiles` of a folder of pictures. @throws UsageError `folder-unreadable` */
function filesOf(directory: string): Promise<string[]> {
  return listFiles(directory).catch((error: unknown) => {
    const { code } = ((error as Error).cause ?? error) as NodeJS.ErrnoException;
    throw new UsageError("folder-unreadable", `image folder ${directory}: expected a readable folder, got ${code ?? String(error)}`, "check the path");
  });
}

/** The pictures of a folder (subfolders too), sorted by name. @throws UsageError `folder-unreadable`, `no-pictures` */
export async function listPictures(directory: string): Promise<string[]> {
  return picturesAmong(directory, await filesOf(directory));
}

function picturesAmong(directory: string, files: readonly string[]): string[] {
  const pictures = files.filter((file) => pictureExtensions.includes(extname(file).toLowerCase()));
  if (pictures.length > 0) return pictures;
  throw new UsageError("no-pictures", `image folder ${directory}: expected pictures (${pictureExtensions.join(", ")}), got none`, "check the path");
}

/**
 * The pictures of a folder with their captions, sorted by name.
 * @throws UsageError `folder-unreadable`, `no-pictures`, `caption-missing`, `caption-malformed`, `picture-missing`
 */
export async function listCaptionedFiles(directory: string): Promise<CaptionedFile[]> {
  const files = await filesOf(directory);
  const pictures = picturesAmong(directory, files);
  const list = captionLists.find((name) => files.includes(name));
  return list === undefined ? captionsBeside(directory, pictures, files) : captionsFromList(directory, list, files);
}

async function captionsBeside(
  directory: string,
  pictures: readonly string[],
  files: readonly string[],
): Promise<CaptionedFile[]> {
  const known = new Set(files);
  const entries: CaptionedFile[] = [];
  const missing: string[] = [];
  for (const file of pictures) {
    const text = file.slice(0, -extname(file).length) + ".txt";
    const caption = known.has(text) ? (await readFile(join(directory, text), "utf8")).trim() : "";
    if (caption === "") missing.push(file);
    else entries.push({ file, caption });
  }
  if (missing.length > 0) {
    throw new UsageError(
      "caption-missing",
      `image folder ${directory}: expected a caption for each of ${pictures.length} pictures, got none for ${missing.length} (first: ${missing.slice(0, 3).join(", ")})`,
      'put a .txt of the same name beside each picture, or a captions.jsonl with {"file_name": …, "text": …} lines into the folder',
    );
  }
  return entries;
}

async function captionsFromList(
  directory: string,
  list: string,
  files: readonly string[],
): Promise<CaptionedFile[]> {
  const known = new Set(files);
  const entries = new Map<string, CaptionedFile>();
  const lines = (await readFile(join(directory, list), "utf8")).split("\n");
  for (const [i, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const where = `at ${join(directory, list)}:${i + 1}`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new UsageError(
        "caption-malformed",
        `caption list: expected one JSON object per line, got ${JSON.stringify(line.slice(0, 80))} (${where})`,
      );
    }
    const parsed = captionLine.safeParse(value);
    if (!parsed.success || parsed.data.text.trim() === "") {
      throw new UsageError(
        "caption-malformed",
        `caption list: expected {"file_name": …, "text": …} with a caption, got ${line.slice(0, 80)} (${where})`,
      );
    }
    const { file_name: file, text } = parsed.data;
    if (!known.has(file))
      throw new UsageError(
        "picture-missing",
        `caption list: expected a picture of the folder, got "${file}" (${where})`,
        "file names are relative to the folder",
      );
    if (entries.has(file))
      throw new UsageError(
        "caption-malformed",
        `caption list: expected each picture once, got "${file}" again (${where})`,
      );
    entries.set(file, { file, caption: text.trim() });
  }
  return [...entries.values()].sort((a, b) => (a.file < b.file ? -1 : 1));
}
