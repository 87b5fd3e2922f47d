import { UsageError } from "../../errors.ts";
import { constant, weight } from "../../ops/leaves.ts";
import { type DType, sizeOf } from "../../shape.ts";
import type { Tensor, WeightSource } from "../../tensor.ts";
import { ONNX_TYPE, type StoredTensor } from "./model-proto.ts";
import { type OnnxFile, onnxInvalid, unpackVarints } from "./wire-reader.ts";

interface ElementType {
  readonly name: string;
  readonly dtype: DType;
  readonly sizeBytes: number;
  /** The type of a weight that is used in place. */
  readonly mapped?: WeightSource["dtype"];
  /** The typed field of TensorProto that holds it. */
  readonly field: number;
  read(view: DataView, offset: number): number;
  /** From a varint of the typed field. */
  decode(value: bigint): number;
}

/** IEEE half precision from its bits. Source: IEEE 754-2019, 3.4. */
function half(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const brain = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
const low = (bits: number) => (value: bigint): number => Number(BigInt.asIntN(bits, value));
const lowUnsigned = (bits: number) => (value: bigint): number => Number(BigInt.asUintN(bits, value));
const never = (): number => NaN;

/** Element types that are understood; all are computed as float32, int32 or bool. */
const ELEMENT_TYPES: Readonly<Record<number, ElementType>> = {
  [ONNX_TYPE.FLOAT]: { name: "float", dtype: "float32", sizeBytes: 4, mapped: "F32", field: 4, read: (v, at) => v.getFloat32(at, true), decode: never },
  [ONNX_TYPE.DOUBLE]: { name: "double", dtype: "float32", sizeBytes: 8, field: 10, read: (v, at) => v.getFloat64(at, true), decode: never },
  [ONNX_TYPE.FLOAT16]: { name: "float16", dtype: "float32", sizeBytes: 2, mapped: "F16", field: 5, read: (v, at) => half(v.getUint16(at, true)), decode: (x) => half(lowUnsigned(16)(x)) },
  [ONNX_TYPE.BFLOAT16]: { name: "bfloat16", dtype: "float32", sizeBytes: 2, mapped: "BF16", field: 5, read: (v, at) => brain(v.getUint16(at, true)), decode: (x) => brain(lowUnsigned(16)(x)) },
  [ONNX_TYPE.INT8]: { name: "int8", dtype: "int32", sizeBytes: 1, field: 5, read: (v, at) => v.getInt8(at), decode: low(8) },
  [ONNX_TYPE.INT16]: { name: "int16", dtype: "int32", sizeBytes: 2, field: 5, read: (v, at) => v.getInt16(at, true), decode: low(16) },
  [ONNX_TYPE.INT32]: { name: "int32", dtype: "int32", sizeBytes: 4, field: 5, read: (v, at) => v.getInt32(at, true), decode: low(32) },
  [ONNX_TYPE.INT64]: { name: "int64", dtype: "int32", sizeBytes: 8, field: 7, read: (v, at) => Number(v.getBigInt64(at, true)), decode: low(64) },
  [ONNX_TYPE.UINT8]: { name: "uint8", dtype: "int32", sizeBytes: 1, field: 5, read: (v, at) => v.getUint8(at), decode: lowUnsigned(8) },
  [ONNX_TYPE.UINT16]: { name: "uint16", dtype: "int32", sizeBytes: 2, field: 5, read: (v, at) => v.getUint16(at, true), decode: lowUnsigned(16) },
  [ONNX_TYPE.UINT32]: { name: "uint32", dtype: "int32", sizeBytes: 4, field: 11, read: (v, at) => v.getUint32(at, true), decode: lowUnsigned(32) },
  [ONNX_TYPE.UINT64]: { name: "uint64", dtype: "int32", sizeBytes: 8, field: 11, read: (v, at) => Number(v.getBigUint64(at, true)), decode: lowUnsigned(64) },
  [ONNX_TYPE.BOOL]: { name: "bool", dtype: "bool", sizeBytes: 1, field: 5, read: (v, at) => Number(v.getUint8(at) !== 0), decode: (x) => Number(x !== 0n) },
};

/** How an ONNX element type is computed here, or undefined for one that is not understood (strings, complex numbers, 4 and 8 bit floats). */
export const dtypeOfElementType = (elementType: number): DType | undefined => ELEMENT_TYPES[elementType]?.dtype;

/** Numbers on the heap in all constants of a model; larger models keep their weights in the file. */
const MOST_HEAP_ELEMENTS = 1 << 27;

export interface LoadOptions {
  /** Opens a file of external data by its path relative to the model's folder; absent when there can be none. */
  readonly openExternal?: ((location: string) => Promise<OnnxFile>) | undefined;
  /** Float constants of more elements are used in place from their file. */
  readonly mapAbove: number;
}

/** A relative path of plain names, or an error: external data may lie only beside or below the model. */
function checkLocation(location: string, where: string): string {
  const names = location.replaceAll("\\", "/").split("/");
  const isPlain = location.length <= 4096 && !/^[A-Za-z]:|^[/\\]|\0/.test(location) && names.every((name) => name !== ".." && name !== "");
  if (!isPlain) throw new UsageError("path-outside", `ONNX: expected external data inside the model's folder, got "${location.slice(0, 200)}" (at ${where})`);
  return names.filter((name) => name !== ".").join("/");
}

/** Turns stored constants into tensors: large float ones as weights in place, others as numbers. */
export class StoredValues {
  readonly #file: OnnxFile;
  readonly #options: LoadOptions;
  readonly #externals: Map<string, Promise<OnnxFile>> = new Map();
  #heapElements = 0;

  constructor(file: OnnxFile, options: LoadOptions) {
    this.#file = file;
    this.#options = options;
  }

  /** @throws UsageError `onnx-invalid`, `onnx-type`, `onnx-external`, `path-outside`, `onnx-too-large` */
  async load(stored: StoredTensor): Promise<Tensor> {
    const where = `${this.#file.name}, tensor "${stored.name.slice(0, 200)}"`;
    const type = Object.hasOwn(ELEMENT_TYPES, stored.elementType) ? ELEMENT_TYPES[stored.elementType] : undefined;
    if (type === undefined) {
      const known = Object.values(ELEMENT_TYPES).map(({ name }) => name).join(", ");
      throw new UsageError("onnx-type", `ONNX: expected elements of type ${known}, got type ${stored.elementType} (at ${where})`);
    }
    const count = sizeOf(stored.shape);
    const place = await this.#placeOf(stored, type, count, where);
    if (place && type.mapped && count > this.#options.mapAbove) {
      return weight({ key: stored.name, file: place.file.name, offset: place.offset, sizeBytes: count * type.sizeBytes, dtype: type.mapped, shape: stored.shape });
    }
    this.#heapElements += count;
    if (!(this.#heapElements <= MOST_HEAP_ELEMENTS)) {
      throw new UsageError("onnx-too-large", `ONNX: expected at most ${MOST_HEAP_ELEMENTS} numbers outside of float32, float16 and bfloat16 weights, got more (at ${where})`, "export the weights as float32 or float16");
    }
    if (place) {
      const bytes = await place.file.read(place.offset, count * type.sizeBytes);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      return constant(Float64Array.from({ length: count }, (_, i) => type.read(view, i * type.sizeBytes)), stored.shape, type.dtype);
    }
    return constant(await this.#typedNumbers(stored, type, count, where), stored.shape, type.dtype);
  }

  /** Where the elements lie one after the other in a file, if they do. */
  async #placeOf({ content }: StoredTensor, type: ElementType, count: number, where: string): Promise<{ readonly file: OnnxFile; readonly offset: number } | undefined> {
    const needed = count * type.sizeBytes;
    const expectSize = (sizeBytes: number): void => {
      if (sizeBytes !== needed) throw onnxInvalid(`expected ${needed} bytes for ${count} elements of ${type.name}, got ${sizeBytes}`, where);
    };
    if (content.kind === "raw") {
      expectSize(content.range.end - content.range.start);
      return { file: this.#file, offset: content.range.start };
    }
    if (content.kind === "typed") {
      const [range] = content.packed;
      const isPlain = (content.field === 4 || content.field === 10) && content.field === type.field && content.packed.length === 1 && content.single.length === 0;
      if (!isPlain || !range) return undefined;
      expectSize(range.end - range.start);
      return { file: this.#file, offset: range.start };
    }
    const location = checkLocation(content.location, where);
    const { openExternal } = this.#options;
    if (!openExternal) throw new UsageError("onnx-external", `ONNX: expected all weights in the file, got some in "${location}" (at ${where})`);
    const opened = this.#externals.get(location) ?? openExternal(location);
    this.#externals.set(location, opened);
    const file = await opened;
    if (content.sizeBytes !== undefined) expectSize(content.sizeBytes);
    if (!(content.offset + needed <= file.sizeBytes)) throw onnxInvalid(`expected ${needed} bytes at byte ${content.offset} of ${file.name}, got a file of ${file.sizeBytes}`, where);
    return { file, offset: content.offset };
  }

  async #typedNumbers({ content }: StoredTensor, type: ElementType, count: number, where: string): Promise<Float64Array> {
    if (content.kind !== "typed") throw onnxInvalid("expected numbers in typed fields", where);
    const { field, packed, single } = content;
    const isFloat = type.field === 4 || type.field === 10;
    if (field !== type.field && count > 0) throw onnxInvalid(`expected data of ${type.name} in field ${type.field}, got field ${field}`, where);
    const packedBytes = packed.reduce((total, { start, end }) => total + end - start, 0);
    if (packedBytes > count * (isFloat ? type.sizeBytes : 10)) throw onnxInvalid(`expected ${count} elements, got ${packedBytes} bytes of them`, where);
    const numbers: number[] = [];
    for (const range of packed) {
      const bytes = await this.#file.read(range.start, range.end - range.start);
      if (isFloat) {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        for (let at = 0; at + type.sizeBytes <= bytes.length; at += type.sizeBytes) numbers.push(type.read(view, at));
      } else for (const value of unpackVarints(bytes, where)) numbers.push(type.decode(value));
    }
    const scratch = new DataView(new ArrayBuffer(8));
    for (const value of single) {
      scratch.setBigUint64(0, value, true);
      numbers.push(isFloat ? type.read(scratch, 0) : type.decode(value));
    }
    if (numbers.length !== count) throw onnxInvalid(`expected ${count} elements, got ${numbers.length}`, where);
    return Float64Array.from(numbers);
  }
}
