import { InternalError, UsageError } from "@tastemaker/tensor";
import { float32ToBfloat16, float32ToFloat16 } from "./float-formats.ts";
import { SAFETENSORS_DTYPE_BITS, type SafetensorsDType } from "./safetensors.ts";

/** A tensor to store; F16 and BF16 accept float32 values (rounded to nearest even) or ready 16-bit patterns. */
export type TensorToStore = { readonly shape: readonly number[] } & (
  | { readonly dtype: "F32"; readonly data: Float32Array }
  | { readonly dtype: "F64"; readonly data: Float64Array }
  | { readonly dtype: "F16" | "BF16"; readonly data: Float32Array | Uint16Array }
  | { readonly dtype: "BOOL" | "U8"; readonly data: Uint8Array }
  | { readonly dtype: "I8"; readonly data: Int8Array }
  | { readonly dtype: "I16"; readonly data: Int16Array }
  | { readonly dtype: "U16"; readonly data: Uint16Array }
  | { readonly dtype: "I32"; readonly data: Int32Array }
  | { readonly dtype: "U32"; readonly data: Uint32Array }
  | { readonly dtype: "I64"; readonly data: BigInt64Array }
  | { readonly dtype: "U64"; readonly data: BigUint64Array }
);

/** The reference library's order of dtypes: it stores later ones first so that every tensor is aligned. */
const dtypeOrder = Object.keys(SAFETENSORS_DTYPE_BITS) as SafetensorsDType[];

function toBytes(name: string, tensor: TensorToStore): Uint8Array {
  let { data } = tensor;
  if (tensor.dtype === "F16" && data instanceof Float32Array) data = float32ToFloat16(data);
  if (tensor.dtype === "BF16" && data instanceof Float32Array) data = float32ToBfloat16(data);
  const expected = (tensor.shape.reduce((product, size) => product * size, 1) * SAFETENSORS_DTYPE_BITS[tensor.dtype]) / 8;
  if (data.byteLength !== expected) {
    throw new InternalError(`safetensors: expected ${expected} bytes for "${name}" ${tensor.dtype} [${tensor.shape.join(", ")}], got ${data.byteLength}`);
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

const byUtf8 = (a: string, b: string): number => {
  // Code points compare like UTF-8 bytes; UTF-16 units do not (surrogates sort below U+E000).
  const left = Array.from(a);
  const right = Array.from(b);
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = left[i]!.codePointAt(0)! - right[i]!.codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
};

/** Where each tensor of a file goes: the bytes before the first, and the tensors in their order with their places in the file. */
export interface SafetensorsLayout {
  /** Length and JSON, padded so that the data begin at a multiple of eight. */
  readonly head: Uint8Array;
  readonly tensors: readonly { readonly name: string; readonly offset: number; readonly sizeBytes: number }[];
  readonly sizeBytes: number;
}

/**
 * Plans a safetensors file, for writers that do not hold all of it in memory. Deterministic: wider dtypes first, then names in byte order, as the
 * reference library writes them (byte for byte the same file when there is at most one metadata entry; the library does not order those, this
 * function sorts them). Throws `UsageError` for the reserved name `__metadata__`.
 */
export function layoutSafetensors(
  tensors: ReadonlyMap<string, { readonly dtype: SafetensorsDType; readonly shape: readonly number[] }>,
  metadata?: ReadonlyMap<string, string>,
): SafetensorsLayout {
  if (tensors.has("__metadata__")) throw new UsageError("name-reserved", 'safetensors: expected a tensor name, got the reserved "__metadata__"', "rename the tensor");
  const sorted = [...tensors].sort(([nameA, a], [nameB, b]) => dtypeOrder.indexOf(b.dtype) - dtypeOrder.indexOf(a.dtype) || byUtf8(nameA, nameB));
  const fields: string[] = [];
  if (metadata !== undefined) {
    const pairs = [...metadata].sort(([a], [b]) => byUtf8(a, b)).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    fields.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  const places: { name: string; offset: number; sizeBytes: number }[] = [];
  let position = 0;
  for (const [name, { dtype, shape }] of sorted) {
    const sizeBytes = (shape.reduce((product, size) => product * size, 1) * SAFETENSORS_DTYPE_BITS[dtype]) / 8;
    fields.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${position},${position + sizeBytes}]}`);
    places.push({ name, offset: position, sizeBytes });
    position += sizeBytes;
  }
  const header = new TextEncoder().encode(`{${fields.join(",")}}`);
  const headerBytes = Math.ceil(header.byteLength / 8) * 8;
  const head = new Uint8Array(8 + headerBytes).fill(0x20, 8);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(header, 8);
  return { head, tensors: places.map((place) => ({ ...place, offset: head.length + place.offset })), sizeBytes: head.length + position };
}

/** Encodes tensors as a safetensors file, laid out by `layoutSafetensors`. Throws `UsageError` for the reserved name `__metadata__`. */
export function encodeSafetensors(tensors: ReadonlyMap<string, TensorToStore>, metadata?: ReadonlyMap<string, string>): Uint8Array<ArrayBuffer> {
  const layout = layoutSafetensors(tensors, metadata);
  const out = new Uint8Array(layout.sizeBytes);
  out.set(layout.head);
  for (const { name, offset } of layout.tensors) out.set(toBytes(name, tensors.get(name)!), offset);
  return out;
}
