import { nearestName, UsageError, type WeightSource } from "@tastemaker/tensor";
import type { RandomAccessFile } from "./random-access-file.ts";
import type { SafetensorsEntry } from "./safetensors.ts";
import { readWeightFile } from "./weight-file.ts";

/** A tensor of a checkpoint and where its bytes are. */
interface CheckpointEntry extends SafetensorsEntry {
  readonly file: RandomAccessFile;
  /** The name in the file; differs from the key after `renamed`. */
  readonly storedKey: string;
}

const show = (shape: readonly number[]): string => `[${shape.join(", ")}]`;

/** Shape without trailing ones: a 1×1 convolution [o, i, 1, 1] and a linear layer [o, i] hold the same bytes in the same order. */
function withoutTrailingOnes(shape: readonly number[]): string {
  let length = shape.length;
  while (length > 2 && shape[length - 1] === 1) length--;
  return shape.slice(0, length).join(",");
}

/**
 * The tensors of one component by key, with a record of which were used. Nothing is read: `take` says where the bytes are, so that they can be
 * mapped in place.
 */
export class Checkpoint {
  /** Names of the files, for messages. */
  readonly where: string;
  readonly #entries: ReadonlyMap<string, CheckpointEntry>;
  readonly #used: Set<string> = new Set();

  constructor(entries: ReadonlyMap<string, CheckpointEntry>, where: string) {
    this.#entries = entries;
    this.where = where;
  }

  /** All keys, in file order. */
  keys(): string[] {
    return [...this.#entries.keys()];
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** The stored shape, or undefined when there is no such key. */
  shapeOf(key: string): readonly number[] | undefined {
    return this.#entries.get(key)?.shape;
  }

  /** The file and range of a key, for `readTensor`; marks it as used. Throws `UsageError` when it is missing. */
  entry(key: string): { readonly file: RandomAccessFile; readonly entry: SafetensorsEntry } {
    const found = this.#entries.get(key);
    if (found === undefined) throw this.#missing(key, undefined);
    this.#used.add(key);
    return { file: found.file, entry: found };
  }

  /**
   * Where the weight `key` of the given shape is stored; marks it as used. A 1×1 convolution may be taken as a linear layer and the reverse.
   * Throws `UsageError` naming key and file when it is missing, has another shape, or is stored in a type that cannot be mapped.
   */
  take(key: string, shape: readonly number[]): WeightSource {
    const found = this.#entries.get(key);
    if (found === undefined) throw this.#missing(key, shape);
    const location = found.storedKey === key ? found.file.name : `${found.file.name}, stored as ${found.storedKey}`;
    if (withoutTrailingOnes(found.shape) !== withoutTrailingOnes(shape)) {
      throw new UsageError(
        "weight-shape",
        `weight ${key}: expected shape ${show(shape)}, got ${show(found.shape)} (at ${location})`,
        "the weights and config.json belong to different models",
      );
    }
    const { dtype } = found;
    if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
      throw new UsageError("weight-dtype", `weight ${key}: expected F32, F16 or BF16, got ${dtype} (at ${location})`, "convert the file to float32 or float16");
    }
    if (found.strides !== undefined) {
      throw new UsageError("weight-strided", `weight ${key}: expected elements one after the other, got a view with strides ${show(found.strides)} (at ${location})`, "save the tensor with .contiguous()");
    }
    this.#used.add(key);
    return { key, file: found.file.name, offset: found.offset, sizeBytes: found.sizeBytes, dtype, shape: [...shape] };
  }

  /** Keys that were never taken and match none of the `ignore` patterns. */
  unused(ignore: readonly RegExp[] = []): string[] {
    return this.keys().filter((key) => !this.#used.has(key) && !ignore.some((pattern) => pattern.test(key)));
  }

  /** Throws `UsageError` listing the keys that were never taken: weights that nothing computes with mean a misread configuration. */
  assertAllUsed(ignore: readonly RegExp[] = []): void {
    const left = this.unused(ignore);
    if (left.length === 0) return;
    const more = left.length > 8 ? ` and ${left.length - 8} more` : "";
    throw new UsageError(
      "weights-unused",
      `weights: expected every tensor to be used, got ${left.length} unused: ${left.slice(0, 8).join(", ")}${more} (at ${this.where})`,
      "the weights and config.json belong to different models",
    );
  }

  /**
   * The same tensors under other keys; `undefined` drops a key on purpose. Nothing is copied, and use is tracked anew.
   * Throws `UsageError` when two keys become one.
   */
  renamed(rename: (key: string) => string | undefined): Checkpoint {
    const entries = new Map<string, CheckpointEntry>();
    for (const [key, entry] of this.#entries) {
      const name = rename(key);
      if (name !== undefined) addEntry(entries, name, entry);
    }
    return new Checkpoint(entries, this.where);
  }

  /**
   * The same tensors, some cut along their first axis into equal parts under keys of their own, in order; nothing is copied, and use is tracked anew.
   * Throws `UsageError` when a tensor cannot be cut so, or two keys become one.
   */
  cut(partsOf: (key: string) => readonly string[] | undefined): Checkpoint {
    const entries = new Map<string, CheckpointEntry>();
    for (const [key, entry] of this.#entries) {
      const parts = partsOf(key);
      if (parts === undefined) {
        addEntry(entries, key, entry);
        continue;
      }
      const [rows = 0, ...rest] = entry.shape;
      if (rows === 0 || rows % parts.length !== 0 || entry.strides !== undefined) {
        throw new UsageError("weight-shape", `weight ${key}: expected ${parts.length} equal parts of contiguous rows, got shape ${show(entry.shape)} (at ${entry.file.name})`, "the file belongs to another kind of model");
      }
      const sizeBytes = entry.sizeBytes / parts.length;
      for (const [index, part] of parts.entries()) {
        addEntry(entries, part, { ...entry, shape: [rows / parts.length, ...rest], offset: entry.offset + index * sizeBytes, sizeBytes, storedKey: `part ${index + 1} of ${entry.storedKey}` });
      }
    }
    return new Checkpoint(entries, this.where);
  }

  #missing(key: string, shape: readonly number[] | undefined): UsageError {
    const nearest = nearestName(key, this.keys());
    const wanted = shape === undefined ? "a tensor" : `a tensor of shape ${show(shape)}`;
    return new UsageError(
      "weight-missing",
      `weight ${key}: expected ${wanted}, got nothing (at ${this.where})`,
      nearest === undefined ? "the file belongs to another kind of model" : `the nearest stored key is "${nearest}"`,
    );
  }
}

function addEntry(entries: Map<string, CheckpointEntry>, key: string, entry: CheckpointEntry): void {
  const other = entries.get(key);
  if (other !== undefined) {
    throw new UsageError(
      "weight-twice",
      `weight ${key}: expected it once, got ${other.storedKey} (at ${other.file.name}) and ${entry.storedKey} (at ${entry.file.name})`,
      "leave out one of the files",
    );
  }
  entries.set(key, entry);
}

/** Lists the tensors of one or more weight files (the shards of one component) into a checkpoint. Throws `UsageError`. */
export async function loadCheckpoint(files: readonly RandomAccessFile[]): Promise<Checkpoint> {
  const entries = new Map<string, CheckpointEntry>();
  for (const file of files) {
    const { tensors } = await readWeightFile(file);
    for (const [key, entry] of tensors) addEntry(entries, key, { ...entry, file, storedKey: key });
  }
  return new Checkpoint(entries, files.map((file) => file.name).join(", "));
}

/** VAE keys with the attention names of old checkpoints (`query`, `key`, `value`, `proj_attn`) brought to `to_q`, `to_k`, `to_v`, `to_out.0`. */
export function renameOldVaeAttention(key: string): string {
  const names: Readonly<Record<string, string>> = { query: "to_q", key: "to_k", value: "to_v", proj_attn: "to_out.0" };
  return key.replace(/(\.attentions\.\d+\.)(query|key|value|proj_attn)(?=\.(?:weight|bias)$)/, (_, prefix: string, name: string) => prefix + names[name]!);
}

/** Text-encoder keys without the `text_model.` prefix that some writers add; undefined for the constant buffer `position_ids`. */
export function renameTextEncoder(key: string): string | undefined {
  const name = key.startsWith("text_model.") ? key.slice("text_model.".length) : key;
  return name === "embeddings.position_ids" ? undefined : name;
}
