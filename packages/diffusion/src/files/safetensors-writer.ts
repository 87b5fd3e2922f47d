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

/**
 * Encodes tensors as a safetensors file. Deterministic: wider dtypes first, then names in byte order, as the reference library writes them (byte for byte
 * the same file when there is at most one metadata entry; the library does not order those, this function sorts them).
 * Throws `UsageError` for the reserved name `__metadata__`.
 */
export function encodeSafetensors(tensors: ReadonlyMap<string, TensorToStore>, metadata?: ReadonlyMap<string, string>): Uint8Array<ArrayBuffer> {
  if (tensors.has("__metadata__")) throw new UsageError("name-reserved", 'safetensors: expected a tensor name, got the reserved "__metadata__"', "rename the tensor");
  const sorted = [...tensors].sort(([nameA, a], [nameB, b]) => dtypeOrder.indexOf(b.dtype) - dtypeOrder.indexOf(a.dtype) || byUtf8(nameA, nameB));
  const fields: string[] = [];
  if (metadata !== undefined) {
    const pairs = [...metadata].sort(([a], [b]) => byUtf8(a, b)).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    fields.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  const parts: Uint8Array[] = [];
  let position = 0;
  for (const [name, tensor] of sorted) {
    const bytes = toBytes(name, tensor);
    fields.push(`${JSON.stringify(name)}:{"dtype":"${tensor.dtype}","shape":[${tensor.shape.join(",")}],"data_offsets":[${position},${position + bytes.byteLength}]}`);
    parts.push(bytes);
    position += bytes.byteLength;
  }
  const header = new TextEncoder().encode(`{${fields.join(",")}}`);
  const headerBytes = Math.ceil(header.byteLength / 8) * 8;
  const out = new Uint8Array(8 + headerBytes + position);
  new DataView(out.buffer).setBigUint64(0, BigInt(headerBytes), true);
  out.fill(0x20, 8, 8 + headerBytes);
  out.set(header, 8);
  let offset = 8 + headerBytes;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.byteLength;
  }
  return out;
}
