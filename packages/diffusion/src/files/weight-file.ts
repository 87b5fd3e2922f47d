import type { RandomAccessFile } from "./random-access-file.ts";
import { readSafetensorsHeader, type SafetensorsEntry } from "./safetensors.ts";
import { readTorchFile, type TorchFile } from "./torch-file.ts";

/** The tensors of a weight file of any kind that is read here. */
export interface WeightFile {
  readonly format: "safetensors" | `pytorch ${TorchFile["layout"]}`;
  readonly metadata: ReadonlyMap<string, string>;
  /** By name; names of PyTorch files are dotted paths from the object that was saved. */
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
}

/** Whether the first bytes are those of a zip archive or of a pickle. A safetensors file begins with the length of its header, which is never that large. */
function looksLikeTorch(start: Uint8Array, sizeBytes: number): boolean {
  const isZip = start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4;
  const isPickle = start[0] === 0x80 && start[1]! >= 2 && start[1]! <= 5;
  if (!isZip && !isPickle) return false;
  const header = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  return header + 8n > BigInt(sizeBytes);
}

/**
 * Lists the tensors of a safetensors or PyTorch file, told apart by content and not by name. Nothing of the data is read and nothing of the file is executed.
 *
 * @throws UsageError as `readSafetensorsHeader` and `readTorchFile` do
 */
export async function readWeightFile(file: RandomAccessFile): Promise<WeightFile> {
  const isTorchName = /\.(?:pt|pth|bin|ckpt|pkl)$/.test(file.name);
  const start = await file.read(0, Math.min(8, file.sizeBytes));
  if (!isTorchName && !(start.length === 8 && looksLikeTorch(start, file.sizeBytes))) {
    return { format: "safetensors", ...(await readSafetensorsHeader(file)) };
  }
  const { layout, tensors } = await readTorchFile(file);
  const entries = [...tensors].map(([name, { dtype, shape, strides, offset, sizeBytes, isContiguous }]): [string, SafetensorsEntry] => [
    name,
    { dtype, shape, offset, sizeBytes, ...(isContiguous ? {} : { strides }) },
  ]);
  return { format: `pytorch ${layout}`, metadata: new Map(), tensors: new Map(entries) };
}
