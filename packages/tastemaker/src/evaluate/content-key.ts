import { createHash } from "node:crypto";
import type { Picture } from "@tastemaker/diffusion";
import { hashText } from "../storage/file-hash.ts";

/** SHA-256 of a value's JSON text; equal values written down in the same order have equal keys. */
export function contentKey(value: object): string {
  return hashText(JSON.stringify(value));
}

/** SHA-256 of a picture's size and pixels, whatever file format it is stored in. */
export function pictureHash({ height, width, pixels }: Picture): string {
  return createHash("sha256").update(`${height}x${width}\n`).update(pixels).digest("hex");
}
