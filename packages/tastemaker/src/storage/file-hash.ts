import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { storageError } from "./storage-error.ts";

/**
 * SHA-256 of a file as lower-case hex and its size in bytes, read in pieces.
 * @throws UsageError `path-missing`, `no-permission`
 */
export async function hashFile(path: string): Promise<{ sha256: string; sizeBytes: number }> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      sizeBytes += chunk.length;
    }
  } catch (error) {
    throw storageError(error, "read", path);
  }
  return { sha256: hash.digest("hex"), sizeBytes };
}

/** SHA-256 of a text (UTF-8) as lower-case hex. */
export function hashText(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex");
}
