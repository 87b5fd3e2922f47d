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

/** Beginnings of a zip archive, and of PyTorch's files before version 1.6 (the pickled magic number). */
const torchBeginnings: readonly (readonly number[])[] = [
  [0x50, 0x4b, 3, 4],
  [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46],
];

/**
 * Lists the tensors of a safetensors or PyTorch file, told apart by content, and by name where that is damaged. Nothing of the data is read and nothing of the file is executed.
 *
 * @throws UsageError as `readSafetensorsHeader` and `readTorchFile` do
 */
export async function readWeightFile(file: RandomAccessFile): Promise<WeightFile> {
  const start = await file.read(0, Math.min(8, file.sizeBytes));
  const isTorch = torchBeginnings.some((bytes) => bytes.every((byte, i) => start[i] === byte));
  // Names decide where the content does not, so that the message fits what the file should have been.
  if (file.name.endsWith(".safetensors") || !(isTorch || /\.(?:pt|pth|bin|ckpt|pkl)$/.test(file.name))) {
    return { format: "safetensors", ...(await readSafetensorsHeader(file)) };
  }
  const { layout, tensors } = await readTorchFile(file);
  const entries = [...tensors].map(([name, { dtype, shape, strides, offset, sizeBytes, isContiguous }]): [string, SafetensorsEntry] => [
    name,
    { dtype, shape, offset, sizeBytes, ...(isContiguous ? {} : { strides }) },
  ]);
  return { format: `pytorch ${layout}`, metadata: new Map(), tensors: new Map(entries) };
}
