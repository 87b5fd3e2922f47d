import { UsageError } from "../../errors.ts";
import { type ByteRange, type OnnxFile, onnxInvalid, signed, unpackVarints, type WireField, WireReader } from "./wire-reader.ts";

/** ONNX element types (TensorProto.DataType) that are read. */
export const ONNX_TYPE = { FLOAT: 1, UINT8: 2, INT8: 3, UINT16: 4, INT16: 5, INT32: 6, INT64: 7, STRING: 8, BOOL: 9, FLOAT16: 10, DOUBLE: 11, UINT32: 12, UINT64: 13, BFLOAT16: 16 } as const;

/** A constant as the file holds it. */
export interface StoredTensor {
  readonly name: string;
  readonly elementType: number;
  readonly shape: readonly number[];
  readonly content:
    | { readonly kind: "raw"; readonly range: ByteRange }
    | { readonly kind: "external"; readonly location: string; readonly offset: number; readonly sizeBytes: number | undefined }
    /** Typed fields: the pieces of packed ones, and single numbers. */
    | { readonly kind: "typed"; readonly field: number; readonly packed: readonly ByteRange[]; readonly single: readonly bigint[] };
}

/** A node's attribute. Subgraphs and other kinds that no mapped operator has are `other`; `reference` names an attribute of the function around. */
export type OnnxAttributeValue =
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "int"; readonly value: number }
  | { readonly kind: "text"; readonly value: string }
  | { readonly kind: "floats"; readonly values: readonly number[] }
  | { readonly kind: "ints"; readonly values: readonly number[] }
  | { readonly kind: "tensor"; readonly tensor: StoredTensor }
  | { readonly kind: "reference"; readonly name: string }
  | { readonly kind: "other" };

export interface ProtoNode {
  readonly name: string;
  readonly opType: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttributeValue>;
}

/** An input or output as declared: sizes are numbers, names of sizes, or undefined where nothing is said. */
export interface ProtoValue {
  readonly name: string;
  readonly elementType: number;
  readonly shape: readonly (number | string | undefined)[] | undefined;
}

/** A function of the model's own, which stands for its nodes. */
export interface ProtoFunction {
  readonly name: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly nodes: readonly ProtoNode[];
  /** Attributes with defaults. */
  readonly defaults: ReadonlyMap<string, OnnxAttributeValue>;
  readonly opsets: ReadonlyMap<string, number>;
}

export interface ProtoModel {
  readonly producer: string;
  /** Version of each operator set by domain; "" is ONNX's own. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly nodes: readonly ProtoNode[];
  readonly initializers: ReadonlyMap<string, StoredTensor>;
  readonly inputs: readonly ProtoValue[];
  readonly outputs: readonly ProtoValue[];
  readonly functions: readonly ProtoFunction[];
}

const MOST_PER_NODE = 1 << 16;
const MOST_AXES = 64;
/** Attributes are small; tensors in them are left in the file. */
const LONGEST_LIST_BYTES = 1 << 26;

const floatOf = (bits: bigint): number => new Float32Array(Uint32Array.of(Number(bits)).buffer)[0]!;
const isBytes = (field: WireField): field is Extract<WireField, { kind: "bytes" }> => field.kind === "bytes";

/** Reads `key: value` pairs (StringStringEntryProto). */
async function readEntry(reader: WireReader, range: ByteRange): Promise<readonly [string, string]> {
  let [key, value] = ["", ""];
  for await (const field of reader.fields(range)) {
    if (!isBytes(field)) continue;
    if (field.number === 1) key = await reader.text(field.range);
    else if (field.number === 2) value = await reader.text(field.range);
  }
  return [key, value];
}

const wholeNumber = (text: string | undefined, what: string, name: string): number | undefined => {
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw onnxInvalid(`expected a whole number as ${what} of external data, got "${text.slice(0, 40)}"`, name);
  return Number(text);
};

async function readTensor(reader: WireReader, range: ByteRange): Promise<StoredTensor> {
  const { name: file } = reader.file;
  let [name, elementType, location] = ["", 0, 0];
  let raw: ByteRange | undefined;
  const shape: number[] = [];
  const external = new Map<string, string>();
  const packed: ByteRange[] = [];
  const single: bigint[] = [];
  let typedField = 0;
  for await (const field of reader.fields(range)) {
    if (field.number === 1) {
      if (field.kind === "varint") shape.push(signed(field.value));
      else if (isBytes(field)) shape.push(...unpackVarints(await reader.bytes(field.range, 1024), file).map(signed));
      if (shape.length > MOST_AXES) throw onnxInvalid(`expected at most ${MOST_AXES} axes, got more`, file);
    } else if (field.number === 2 && field.kind === "varint") elementType = Number(BigInt.asUintN(32, field.value));
    else if (field.number === 8 && isBytes(field)) name = await reader.text(field.range);
    else if (field.number === 9 && isBytes(field)) raw = field.range;
    else if (field.number === 13 && isBytes(field)) {
      const [key, value] = await readEntry(reader, field.range);
      external.set(key, value);
      if (external.size > 64) throw onnxInvalid("expected few entries of external data, got more than 64", file);
    } else if (field.number === 14 && field.kind === "varint") location = Number(field.value);
    else if ([4, 5, 6, 7, 10, 11].includes(field.number)) {
      if (typedField !== 0 && typedField !== field.number) throw onnxInvalid(`expected one kind of data in tensor "${name}", got several`, file);
      typedField = field.number;
      if (isBytes(field)) packed.push(field.range);
      else single.push(field.value);
    }
  }
  const where = `${file}, tensor "${name.slice(0, 200)}"`;
  // A product beyond 2⁵³ may be rounded, but then it is far larger than any file.
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0)) throw onnxInvalid(`expected non-negative sizes, got [${shape}]`, where);
  if (location === 1) {
    const place = external.get("location");
    if (place === undefined) throw onnxInvalid("expected the location of external data, got none", where);
    const [offset, sizeBytes] = [wholeNumber(external.get("offset"), "offset", where) ?? 0, wholeNumber(external.get("length"), "length", where)];
    return { name, elementType, shape, content: { kind: "external", location: place, offset, sizeBytes } };
  }
  if (raw !== undefined) return { name, elementType, shape, content: { kind: "raw", range: raw } };
  return { name, elementType, shape, content: { kind: "typed", field: typedField, packed, single } };
}

const ATTRIBUTE_KIND: Readonly<Record<number, OnnxAttributeValue["kind"]>> = { 1: "float", 2: "int", 3: "text", 4: "tensor", 6: "floats", 7: "ints" };

async function readAttribute(reader: WireReader, range: ByteRange): Promise<readonly [string, OnnxAttributeValue]> {
  const { name: file } = reader.file;
  let [name, type, reference] = ["", 0, ""];
  let [float, int] = [0, 0];
  let [text, tensor]: [ByteRange | undefined, ByteRange | undefined] = [undefined, undefined];
  const [floats, ints]: [number[], number[]] = [[], []];
  let seen: OnnxAttributeValue["kind"] = "other";
  for await (const field of reader.fields(range)) {
    if (field.number === 1 && isBytes(field)) name = await reader.text(field.range);
    else if (field.number === 20 && field.kind === "varint") type = Number(field.value);
    else if (field.number === 21 && isBytes(field)) reference = await reader.text(field.range);
    else if (field.number === 2 && field.kind === "fixed32") [float, seen] = [floatOf(field.value), "float"];
    else if (field.number === 3 && field.kind === "varint") [int, seen] = [signed(field.value), "int"];
    else if (field.number === 4 && isBytes(field)) [text, seen] = [field.range, "text"];
    else if (field.number === 5 && isBytes(field)) [tensor, seen] = [field.range, "tensor"];
    else if (field.number === 7) {
      seen = "floats";
      if (field.kind === "fixed32") floats.push(floatOf(field.value));
      else if (isBytes(field)) {
        const bytes = await reader.bytes(field.range, LONGEST_LIST_BYTES);
        for (const value of new Float32Array(bytes.slice().buffer, 0, Math.floor(bytes.length / 4))) floats.push(value);
      }
    } else if (field.number === 8) {
      seen = "ints";
      if (field.kind === "varint") ints.push(signed(field.value));
      else if (isBytes(field)) for (const value of unpackVarints(await reader.bytes(field.range, LONGEST_LIST_BYTES), file)) ints.push(signed(value));
    }
  }
  if (reference !== "") return [name, { kind: "reference", name: reference }];
  // Files from before IR version 3 need not say the type.
  const kind = type === 0 ? seen : (ATTRIBUTE_KIND[type] ?? "other");
  switch (kind) {
    case "float": return [name, { kind, value: float }];
    case "int": return [name, { kind, value: int }];
    case "text": return [name, { kind, value: text === undefined ? "" : await reader.text(text) }];
    case "floats": return [name, { kind, values: floats }];
    case "ints": return [name, { kind, values: ints }];
    case "tensor":
      if (tensor === undefined) throw onnxInvalid(`expected a tensor in attribute "${name.slice(0, 80)}", got none`, file);
      return [name, { kind, tensor: await readTensor(reader, tensor) }];
    default: return [name, { kind: "other" }];
  }
}

async function readNode(reader: WireReader, range: ByteRange): Promise<ProtoNode> {
  let [name, opType, domain] = ["", "", ""];
  const [inputs, outputs]: [string[], string[]] = [[], []];
  const attributes = new Map<string, OnnxAttributeValue>();
  for await (const field of reader.fields(range)) {
    if (!isBytes(field)) continue;
    if (field.number === 1) inputs.push(await reader.text(field.range));
    else if (field.number === 2) outputs.push(await reader.text(field.range));
    else if (field.number === 3) name = await reader.text(field.range);
    else if (field.number === 4) opType = await reader.text(field.range);
    else if (field.number === 5) attributes.set(...(await readAttribute(reader, field.range)));
    else if (field.number === 7) domain = await reader.text(field.range);
    if (inputs.length + outputs.length + attributes.size > MOST_PER_NODE) throw onnxInvalid(`expected at most ${MOST_PER_NODE} operands of a node, got more`, reader.file.name);
  }
  return { name, opType, domain: domain === "ai.onnx" ? "" : domain, inputs, outputs, attributes };
}

async function readValue(reader: WireReader, range: ByteRange): Promise<ProtoValue> {
  let [name, elementType] = ["", 0];
  let shape: (number | string | undefined)[] | undefined;
  for await (const field of reader.fields(range)) {
    if (field.number === 1 && isBytes(field)) name = await reader.text(field.range);
    if (field.number !== 2 || !isBytes(field)) continue;
    for await (const type of reader.fields(field.range)) {
      if (type.number !== 1 || !isBytes(type)) continue;
      for await (const part of reader.fields(type.range)) {
        if (part.number === 1 && part.kind === "varint") elementType = Number(BigInt.asUintN(32, part.value));
        if (part.number !== 2 || !isBytes(part)) continue;
        shape = [];
        for await (const axis of reader.fields(part.range)) {
          if (axis.number !== 1 || !isBytes(axis)) continue;
          let size: number | string | undefined;
          for await (const value of reader.fields(axis.range)) {
            if (value.number === 1 && value.kind === "varint") size = signed(value.value);
            else if (value.number === 2 && isBytes(value)) size = (await reader.text(value.range)) || undefined;
          }
          // Some exporters write −1 or 0 for an unknown size.
          shape.push(typeof size === "number" && !(Number.isSafeInteger(size) && size > 0) ? undefined : size);
          if (shape.length > MOST_AXES) throw onnxInvalid(`expected at most ${MOST_AXES} axes, got more`, reader.file.name);
        }
      }
    }
  }
  return { name, elementType, shape };
}

async function readOpset(reader: WireReader, range: ByteRange): Promise<readonly [string, number]> {
  let [domain, version] = ["", 1];
  for await (const field of reader.fields(range)) {
    if (field.number === 1 && isBytes(field)) domain = await reader.text(field.range);
    else if (field.number === 2 && field.kind === "varint") version = signed(field.value);
  }
  return [domain === "ai.onnx" ? "" : domain, version];
}

async function readFunction(reader: WireReader, range: ByteRange): Promise<ProtoFunction> {
  let [name, domain] = ["", ""];
  const [inputs, outputs, nodes]: [string[], string[], ProtoNode[]] = [[], [], []];
  const [defaults, opsets] = [new Map<string, OnnxAttributeValue>(), new Map<string, number>()];
  for await (const field of reader.fields(range)) {
    if (!isBytes(field)) continue;
    if (field.number === 1) name = await reader.text(field.range);
    else if (field.number === 4) inputs.push(await reader.text(field.range));
    else if (field.number === 5) outputs.push(await reader.text(field.range));
    else if (field.number === 7) nodes.push(await readNode(reader, field.range));
    else if (field.number === 9) opsets.set(...(await readOpset(reader, field.range)));
    else if (field.number === 10) domain = await reader.text(field.range);
    else if (field.number === 11) defaults.set(...(await readAttribute(reader, field.range)));
  }
  return { name, domain, inputs, outputs, nodes, defaults, opsets };
}

/**
 * Reads the structure of an ONNX file (field numbers of onnx.proto); the bytes of its constants stay where they are.
 * @throws UsageError `onnx-invalid`
 */
export async function readOnnxModel(file: OnnxFile): Promise<ProtoModel> {
  if (file.sizeBytes === 0) throw onnxInvalid("expected an ONNX model, got an empty file", file.name);
  const reader = new WireReader(file);
  let producer = "";
  let graph: ByteRange | undefined;
  const [opsets, metadata] = [new Map<string, number>(), new Map<string, string>()];
  const functions: ProtoFunction[] = [];
  for await (const field of reader.fields({ start: 0, end: file.sizeBytes })) {
    if (!isBytes(field)) continue;
    if (field.number === 2) producer = await reader.text(field.range);
    else if (field.number === 7) graph = field.range;
    else if (field.number === 8) opsets.set(...(await readOpset(reader, field.range)));
    else if (field.number === 14) metadata.set(...(await readEntry(reader, field.range)));
    else if (field.number === 25) functions.push(await readFunction(reader, field.range));
  }
  if (graph === undefined) throw onnxInvalid("expected a model with a graph, got none", file.name);
  const nodes: ProtoNode[] = [];
  const initializers = new Map<string, StoredTensor>();
  const [inputs, outputs]: [ProtoValue[], ProtoValue[]] = [[], []];
  for await (const field of reader.fields(graph)) {
    if (!isBytes(field)) continue;
    if (field.number === 1) nodes.push(await readNode(reader, field.range));
    else if (field.number === 5) {
      const tensor = await readTensor(reader, field.range);
      initializers.set(tensor.name, tensor);
    } else if (field.number === 11) inputs.push(await readValue(reader, field.range));
    else if (field.number === 12) outputs.push(await readValue(reader, field.range));
    else if (field.number === 15) throw new UsageError("onnx-sparse", `ONNX: expected dense weights, got sparse ones (at ${file.name})`, "export the model without sparse initializers");
  }
  if (outputs.length === 0) throw onnxInvalid("expected a graph with outputs, got none", file.name);
  return { producer, opsets, metadata, nodes, initializers, inputs, outputs, functions };
}
