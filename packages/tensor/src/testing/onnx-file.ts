import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { OnnxFile } from "../onnx/import/wire-reader.ts";
import type { Shape } from "../shape.ts";

/** Writes any ONNX file, also forms that this project never writes itself: other opsets, element types, attributes, typed data. */

export type FileType = "float" | "double" | "float16" | "bfloat16" | "int8" | "uint8" | "int32" | "int64" | "bool" | "string";
const ELEMENT_TYPE: Readonly<Record<FileType, number>> = { float: 1, uint8: 2, int8: 3, int32: 6, int64: 7, string: 8, bool: 9, float16: 10, double: 11, bfloat16: 16 };

export interface FileTensor {
  readonly type: FileType;
  readonly shape: Shape;
  /** Numbers; bit patterns for the half precisions. */
  readonly data: readonly number[];
  /** How it is stored; default raw bytes. */
  readonly store?: "raw" | "typed" | { readonly location: string; readonly offset?: number | string; readonly length?: number | string };
}

export type FileAttribute =
  | number
  | string
  | { readonly float: number }
  | { readonly ints: readonly number[] }
  | { readonly floats: readonly number[] }
  | { readonly tensor: FileTensor }
  | { readonly reference: string }
  /** A subgraph, empty. */
  | { readonly graph: true };

export interface FileNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, FileAttribute>>;
  readonly domain?: string;
  readonly name?: string;
}

export interface FileValue {
  readonly name: string;
  /** Undefined for an output that says nothing. */
  readonly type: FileType | undefined;
  /** Names for sizes that may vary. */
  readonly shape: readonly (number | string)[] | undefined;
}

export interface FileFunction {
  readonly name: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly nodes: readonly FileNode[];
  /** Names of attributes that every call gives. */
  readonly attributes?: readonly string[];
}

export interface FileModel {
  readonly nodes: readonly FileNode[];
  readonly inputs: readonly FileValue[];
  readonly outputs: readonly FileValue[];
  readonly initializers?: Readonly<Record<string, FileTensor>>;
  readonly opset?: number;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly functions?: readonly FileFunction[];
}

const message = (fill: (writer: BinaryWriter) => void): Uint8Array => {
  const writer = new BinaryWriter();
  fill(writer);
  return writer.finish();
};
const text = (w: BinaryWriter, field: number, value: string): BinaryWriter => w.tag(field, 2).string(value);
const int = (w: BinaryWriter, field: number, value: number): BinaryWriter => w.tag(field, 0).int64(value);
const nested = (w: BinaryWriter, field: number, fill: (writer: BinaryWriter) => void): BinaryWriter => w.tag(field, 2).bytes(message(fill));

/** The elements one after the other, little-endian. */
export function rawBytes(type: FileType, data: readonly number[]): Uint8Array {
  const array = ((): ArrayBufferView => {
    switch (type) {
      case "float": return Float32Array.from(data);
      case "double": return Float64Array.from(data);
      case "float16": case "bfloat16": return Uint16Array.from(data);
      case "int8": return Int8Array.from(data);
      case "uint8": case "bool": return Uint8Array.from(data);
      case "int32": return Int32Array.from(data);
      case "int64": return BigInt64Array.from(data, BigInt);
      case "string": return new Uint8Array();
    }
  })();
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function writeTensor(w: BinaryWriter, { type, shape, data, store = "raw" }: FileTensor, name?: string): void {
  for (const n of shape) int(w, 1, n);
  int(w, 2, ELEMENT_TYPE[type]);
  if (name !== undefined) text(w, 8, name);
  if (store === "raw") w.tag(9, 2).bytes(rawBytes(type, data));
  else if (store === "typed") {
    const packed = (fill: (writer: BinaryWriter) => void): Uint8Array => message(fill);
    if (type === "float") w.tag(4, 2).bytes(packed((p) => data.forEach((v) => p.float(v))));
    else if (type === "double") w.tag(10, 2).bytes(packed((p) => data.forEach((v) => p.double(v))));
    else if (type === "int64") w.tag(7, 2).bytes(packed((p) => data.forEach((v) => p.int64(v))));
    else w.tag(5, 2).bytes(packed((p) => data.forEach((v) => p.int32(v))));
  } else {
    for (const [key, value] of Object.entries(store)) nested(w, 13, (entry) => void text(text(entry, 1, key), 2, String(value)));
    int(w, 14, 1);
  }
}

function writeAttribute(w: BinaryWriter, name: string, value: FileAttribute): void {
  text(w, 1, name);
  if (typeof value === "string") int(text(w, 4, value), 20, 3);
  else if (typeof value === "number") int(int(w, 3, value), 20, 2);
  else if ("float" in value) int(w.tag(2, 5).float(value.float), 20, 1);
  else if ("ints" in value) {
    for (const item of value.ints) int(w, 8, item);
    int(w, 20, 7);
  } else if ("floats" in value) {
    w.tag(7, 2).bytes(message((p) => value.floats.forEach((item) => p.float(item))));
    int(w, 20, 6);
  } else if ("tensor" in value) {
    nested(w, 5, (inner) => writeTensor(inner, value.tensor));
    int(w, 20, 4);
  } else if ("graph" in value) {
    nested(w, 6, (inner) => void text(inner, 2, "body"));
    int(w, 20, 5);
  } else int(text(w, 21, value.reference), 20, 2);
}

function writeNode(w: BinaryWriter, { op, inputs, outputs, attributes = {}, domain, name }: FileNode): void {
  for (const each of inputs) text(w, 1, each);
  for (const each of outputs) text(w, 2, each);
  if (name !== undefined) text(w, 3, name);
  text(w, 4, op);
  for (const [key, value] of Object.entries(attributes)) nested(w, 5, (inner) => writeAttribute(inner, key, value));
  if (domain !== undefined) text(w, 7, domain);
}

function writeValue(w: BinaryWriter, { name, type, shape }: FileValue): void {
  text(w, 1, name);
  if (type === undefined) return;
  nested(w, 2, (outer) =>
    nested(outer, 1, (tensor) => {
      int(tensor, 1, ELEMENT_TYPE[type]);
      if (shape) nested(tensor, 2, (dims) => shape.forEach((n) => nested(dims, 1, (d) => (typeof n === "number" ? int(d, 1, n) : text(d, 2, n)))));
    }),
  );
}

/** The bytes of an ONNX file. */
export function onnxFile({ nodes, inputs, outputs, initializers = {}, opset = 18, metadata = {}, functions = [] }: FileModel): Uint8Array {
  const domains = new Set([...nodes, ...functions].flatMap(({ domain }) => (domain ? [domain] : [])));
  return message((w) => {
    int(w, 1, 8);
    text(w, 2, "test");
    nested(w, 7, (graph) => {
      for (const node of nodes) nested(graph, 1, (inner) => writeNode(inner, node));
      text(graph, 2, "graph");
      for (const [name, tensor] of Object.entries(initializers)) nested(graph, 5, (inner) => writeTensor(inner, tensor, name));
      for (const value of inputs) nested(graph, 11, (inner) => writeValue(inner, value));
      for (const value of outputs) nested(graph, 12, (inner) => writeValue(inner, value));
    });
    nested(w, 8, (set) => int(set, 2, opset));
    for (const domain of domains) nested(w, 8, (set) => int(text(set, 1, domain), 2, 1));
    for (const [key, value] of Object.entries(metadata)) nested(w, 14, (entry) => void text(text(entry, 1, key), 2, value));
    for (const fn of functions) {
      nested(w, 25, (inner) => {
        text(inner, 1, fn.name);
        for (const each of fn.inputs) text(inner, 4, each);
        for (const each of fn.outputs) text(inner, 5, each);
        for (const each of fn.attributes ?? []) text(inner, 6, each);
        for (const node of fn.nodes) nested(inner, 7, (body) => writeNode(body, node));
        nested(inner, 9, (set) => int(set, 2, opset));
        text(inner, 10, fn.domain);
      });
    }
  });
}

/** Bytes in memory as a file to import. */
export function bytesFile(bytes: Uint8Array, name = "/memory/model.onnx"): OnnxFile {
  return { name, sizeBytes: bytes.length, read: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)) };
}
