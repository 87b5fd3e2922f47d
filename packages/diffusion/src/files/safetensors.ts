import { UsageError } from "@tastemaker/tensor";
import { bfloat16ToFloat32, float16ToFloat32, float8E4M3ToFloat32, float8E5M2ToFloat32 } from "./float-formats.ts";
import { asJsonObject, decodeUtf8, fileTooShortError, type RandomAccessFile } from "./random-access-file.ts";
import { gatherStrided, stridedSpanBytes } from "./strided.ts";

/** Bits per element of every dtype the format knows. */
export const SAFETENSORS_DTYPE_BITS = {
  BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8,
  I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32, C64: 64, F64: 64, I64: 64, U64: 64,
} as const;
export type SafetensorsDType = keyof typeof SAFETENSORS_DTYPE_BITS;

/** Where one tensor lies in its file. */
export interface SafetensorsEntry {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Byte position of the first element from the beginning of the file. */
  readonly offset: number;
  /** Size of all elements one after the other. */
  readonly sizeBytes: number;
  /** Elements from one index to the next per axis, where they do not lie one after the other (views in PyTorch files only). */
  readonly strides?: readonly number[];
}

export interface SafetensorsHeader {
  /** The strings under `__metadata__`; empty when there are none. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Tensors by name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
}

/** The elements of a stored tensor: small floats widened to float32, all other dtypes as they are (BOOL as bytes). */
export type StoredArray =
  | Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | BigInt64Array | BigUint64Array;

const maximumHeaderBytes = 100_000_000;
const cure = "the file is damaged or not a safetensors file; fetch it again";

function formatError(what: string, file: RandomAccessFile, hint: string = cure): UsageError {
  return new UsageError("safetensors-invalid", `safetensors: ${what} (at ${file.name})`, hint);
}

/**
 * Reads and checks the header of a safetensors file without trusting any of it: lengths, JSON, dtypes, shapes, byte ranges (no hole,
 * overlap, trailing byte). As in the reference library the last of several equal names counts and white space may precede the header.
 * Throws `UsageError`.
 */
export async function readSafetensorsHeader(file: RandomAccessFile): Promise<SafetensorsHeader> {
  if (file.sizeBytes < 8) throw formatError(`expected at least 8 bytes, got ${file.sizeBytes}`, file);
  const lengthBytes = await file.read(0, 8);
  const headerBytes = new DataView(lengthBytes.buffer, lengthBytes.byteOffset, 8).getBigUint64(0, true);
  if (headerBytes > BigInt(maximumHeaderBytes)) {
    throw formatError(`expected a header of at most ${maximumHeaderBytes} bytes, got ${headerBytes}${describeOtherKind(lengthBytes)}`, file);
  }
  const dataStart = 8 + Number(headerBytes);
  if (dataStart > file.sizeBytes) throw formatError(`expected a header of ${headerBytes} bytes, got a file of ${file.sizeBytes} bytes`, file);
  const text = decodeUtf8(await file.read(8, Number(headerBytes)), `header of ${file.name}`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw formatError(`expected a JSON header, got "${text.slice(0, 40)}"`, file);
  }
  const metadata = new Map<string, string>();
  const entries: [string, SafetensorsEntry][] = [];
  for (const [name, value] of Object.entries(asJsonObject(parsed, `header of ${file.name}`))) {
    if (name !== "__metadata__") entries.push([name, checkEntry(name, value, dataStart, file)]);
    else if (value !== null) {
      for (const [key, text] of Object.entries(asJsonObject(value, `__metadata__ of ${file.name}`))) {
        if (typeof text !== "string") throw formatError(`expected a string in __metadata__, got ${typeof text} for "${key.slice(0, 80)}"`, file);
        metadata.set(key, text);
      }
    }
  }
  entries.sort(([, a], [, b]) => a.offset - b.offset || a.sizeBytes - b.sizeBytes);
  let position = dataStart;
  for (const [name, entry] of entries) {
    if (entry.offset !== position) {
      const problem = entry.offset > position ? "a hole" : "an overlap";
      throw formatError(`expected tensor "${name}" at byte ${position}, got ${entry.offset}: ${problem}`, file);
    }
    position += entry.sizeBytes;
  }
  if (position !== file.sizeBytes) {
    throw formatError(`expected ${position} bytes as the header says, got ${file.sizeBytes}`, file, position > file.sizeBytes ? "the file is cut short; fetch it again" : cure);
  }
  return { metadata, tensors: new Map(entries) };
}

/** Names the usual impostors so that the message helps. */
function describeOtherKind(start: Uint8Array): string {
  const ascii = String.fromCharCode(...start);
  if (ascii.startsWith("version ")) return " (this is a Git LFS pointer, not the file itself)";
  if (ascii.startsWith("PK") || start[0] === 0x80) return " (this is a PyTorch pickle)";
  if (ascii.trimStart().startsWith("<")) return " (this is a web page)";
  return "";
}

function checkEntry(name: string, value: unknown, dataStart: number, file: RandomAccessFile): SafetensorsEntry {
  const fail = (what: string): never => {
    throw formatError(`${what} for tensor "${name.slice(0, 200)}"`, file);
  };
  const isCount = (item: unknown): item is number => typeof item === "number" && Number.isSafeInteger(item) && item >= 0;
  const { dtype, shape, data_offsets: offsets } = asJsonObject(value, `tensor "${name.slice(0, 200)}" of ${file.name}`);
  if (typeof dtype !== "string" || !Object.hasOwn(SAFETENSORS_DTYPE_BITS, dtype)) {
    return fail(`expected a dtype of ${Object.keys(SAFETENSORS_DTYPE_BITS).join(", ")}, got ${JSON.stringify(dtype)?.slice(0, 40)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) return fail(`expected a shape of whole numbers, got ${JSON.stringify(shape)?.slice(0, 80)}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return fail(`expected two whole data_offsets, got ${JSON.stringify(offsets)?.slice(0, 80)}`);
  }
  const [begin, end] = offsets as [number, number];
  const bits = shape.reduce((product: number, size: number) => product * size, SAFETENSORS_DTYPE_BITS[dtype as SafetensorsDType]);
  // A product beyond 2^53 may be rounded, but then it is far larger than any file.
  if (bits % 8 !== 0 || bits / 8 !== end - begin) {
    return fail(`expected ${bits / 8} bytes for ${dtype} [${shape.slice(0, 16).join(", ")}], got ${end - begin}`);
  }
  if (dataStart + end > file.sizeBytes) return fail(`expected data up to byte ${dataStart + end}, got a file of ${file.sizeBytes} bytes`);
  return { dtype: dtype as SafetensorsDType, shape: [...shape] as number[], offset: dataStart + begin, sizeBytes: end - begin };
}

/** Views of small files may be larger than the file by any factor up to this many bytes. */
const smallestViewLimit = 65_536;

/** The stored bytes of a tensor, row-major, little-endian. Throws `UsageError`. */
export async function readTensorBytes(file: RandomAccessFile, { dtype, shape, offset, sizeBytes, strides }: SafetensorsEntry): Promise<Uint8Array> {
  // A stride of zero could make any size of a few bytes.
  if (strides !== undefined && sizeBytes > Math.max(2 * file.sizeBytes, smallestViewLimit)) {
    throw new UsageError("view-too-large", `tensor: expected a view of at most twice the file's ${file.sizeBytes} bytes, got ${sizeBytes} (at ${file.name})`, "the tensor repeats its elements; save it with .contiguous()");
  }
  const elementBytes = SAFETENSORS_DTYPE_BITS[dtype] / 8;
  const length = strides === undefined ? sizeBytes : stridedSpanBytes(shape, strides, elementBytes);
  const bytes = await file.read(offset, length);
  if (bytes.byteLength !== length) throw fileTooShortError(file.name, offset, length, offset + bytes.byteLength);
  return strides === undefined ? bytes : gatherStrided(bytes, shape, strides, elementBytes);
}

/**
 * The elements of little-endian `bytes` of a stored dtype. Throws `UsageError` for dtypes nobody trains with (4 and 6 bit floats, complex).
 * Like every typed array this relies on a little-endian machine, which all of Node's and the browsers' platforms are.
 */
export function decodeStored(dtype: SafetensorsDType, bytes: Uint8Array, where: string): StoredArray {
  const { buffer, byteOffset } = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes);
  const count = (bytes.byteLength * 8) / SAFETENSORS_DTYPE_BITS[dtype];
  switch (dtype) {
    case "F32": return new Float32Array(buffer, byteOffset, count);
    case "F16": return float16ToFloat32(new Uint16Array(buffer, byteOffset, count));
    case "BF16": return bfloat16ToFloat32(new Uint16Array(buffer, byteOffset, count));
    case "F64": return new Float64Array(buffer, byteOffset, count);
    case "F8_E4M3": return float8E4M3ToFloat32(bytes);
    case "F8_E5M2": return float8E5M2ToFloat32(bytes);
    case "BOOL": case "U8": return new Uint8Array(buffer, byteOffset, count);
    case "I8": return new Int8Array(buffer, byteOffset, count);
    case "I16": return new Int16Array(buffer, byteOffset, count);
    case "U16": return new Uint16Array(buffer, byteOffset, count);
    case "I32": return new Int32Array(buffer, byteOffset, count);
    case "U32": return new Uint32Array(buffer, byteOffset, count);
    case "I64": return new BigInt64Array(buffer, byteOffset, count);
    case "U64": return new BigUint64Array(buffer, byteOffset, count);
    default:
      throw new UsageError("dtype-unsupported", `tensor: expected a dtype of F64, F32, F16, BF16, F8_E4M3, F8_E5M2 or whole numbers, got ${dtype} (at ${where})`, "convert the file to float16 or float32");
  }
}

/** Reads one tensor in its natural array type; F16, BF16 and 8-bit floats become float32, exactly. */
export async function readTensor(file: RandomAccessFile, entry: SafetensorsEntry): Promise<StoredArray> {
  return decodeStored(entry.dtype, await readTensorBytes(file, entry), file.name);
}

/** Reads one tensor as float32; F64 and 32/64-bit integers are rounded. */
export async function readTensorFloat32(file: RandomAccessFile, entry: SafetensorsEntry): Promise<Float32Array> {
  const stored = await readTensor(file, entry);
  return stored instanceof Float32Array ? stored : Float32Array.from(stored as ArrayLike<number | bigint>, Number);
}

/** Reads one tensor as float64; only 64-bit integers beyond 2^53 are rounded. */
export async function readTensorFloat64(file: RandomAccessFile, entry: SafetensorsEntry): Promise<Float64Array> {
  const stored = await readTensor(file, entry);
  return stored instanceof Float64Array ? stored : Float64Array.from(stored as ArrayLike<number | bigint>, Number);
}
