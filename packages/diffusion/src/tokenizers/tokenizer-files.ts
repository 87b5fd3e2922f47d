import { UsageError } from "@tastemaker/tensor";
import { decodeUtf8, type Folder, type RandomAccessFile } from "../files/random-access-file.ts";

/** Where a vocabulary is read from: one file, or a folder in which the file is looked for. */
export type TokenizerSource = RandomAccessFile | Folder;

/** Larger than any vocabulary in use; a zipped file may say little about what it unpacks to. */
const maximumBytes = 64 * 2 ** 20;

export function isFolder(source: TokenizerSource): source is Folder {
  return "readText" in source;
}

async function gunzip(bytes: Uint8Array<ArrayBuffer>, where: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      sizeBytes += part.value.byteLength;
      if (sizeBytes > maximumBytes) break;
      chunks.push(part.value);
    }
  } catch (error) {
    throw new UsageError("gzip-damaged", `gzip: expected a whole zipped file, got ${error instanceof Error ? error.message : String(error)} (at ${where})`, "fetch the file again");
  }
  if (sizeBytes > maximumBytes) {
    await reader.cancel();
    throw tooLargeError(`more than ${maximumBytes} bytes unzipped`, where);
  }
  const all = new Uint8Array(sizeBytes);
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return all;
}

/** The text of a vocabulary file, unzipped if it is zipped. Throws `UsageError` when it is damaged, is not UTF-8 or has more than 64 MiB. */
export async function readVocabularyText(file: RandomAccessFile): Promise<string> {
  if (file.sizeBytes > maximumBytes) throw tooLargeError(`${file.sizeBytes} bytes`, file.name);
  const bytes = new Uint8Array(await file.read(0, file.sizeBytes));
  const isZipped = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return decodeUtf8(isZipped ? await gunzip(bytes, file.name) : bytes, file.name);
}

/** Opens the first of `names` that the folder has. Throws `UsageError` that lists them when it has none. */
export async function openFirst(folder: Folder, names: readonly string[]): Promise<RandomAccessFile> {
  for (const name of names) if (await folder.has(name)) return folder.open(name);
  throw new UsageError("tokenizer-missing", `vocabulary: expected ${names.join(" or ")}, got none of them (at ${folder.path})`);
}

function tooLargeError(got: string, where: string): UsageError {
  return new UsageError("tokenizer-size", `vocabulary: expected at most ${maximumBytes} bytes, got ${got} (at ${where})`, "this is not a vocabulary");
}
