import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { DType, Shape } from "../shape.ts";
import type { OnnxAttribute, WeightSource } from "../tensor.ts";

// Field numbers of onnx.proto (ONNX IR version 8, opset 18); only what this project writes.
const ATTRIBUTE = { name: 1, float: 2, int: 3, string: 4, ints: 8, type: 20 } as const;
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, ints: 7 } as const;
export const ELEMENT_TYPE = { float32: 1, int32: 6, int64: 7, bool: 9, F32: 1, F16: 10, BF16: 16 } as const;

const submessage = (writer: BinaryWriter, field: number, message: BinaryWriter): BinaryWriter => writer.tag(field, 2).bytes(message.finish());
const text = (writer: BinaryWriter, field: number, value: string): BinaryWriter => writer.tag(field, 2).string(value);
const int = (writer: BinaryWriter, field: number, value: number): BinaryWriter => writer.tag(field, 0).int64(value);

/** One ONNX node before it is written. */
export interface OnnxNode {
  readonly opType: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

/** A named constant: bytes in the model, or a place in an external file. */
export interface OnnxInitializer {
  readonly name: string;
  readonly shape: Shape;
  readonly elementType: number;
  readonly content: Uint8Array | WeightSource;
}

export interface OnnxValue {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
}

function writeAttribute(name: string, value: OnnxAttribute): BinaryWriter {
  const writer = text(new BinaryWriter(), ATTRIBUTE.name, name);
  if (typeof value === "string") return int(writer.tag(ATTRIBUTE.string, 2).string(value), ATTRIBUTE.type, ATTRIBUTE_TYPE.string);
  if (typeof value === "number") return int(int(writer, ATTRIBUTE.int, value), ATTRIBUTE.type, ATTRIBUTE_TYPE.int);
  if ("float" in value) return int(writer.tag(ATTRIBUTE.float, 5).float(value.float), ATTRIBUTE.type, ATTRIBUTE_TYPE.float);
  for (const item of value.ints) int(writer, ATTRIBUTE.ints, item);
  return int(writer, ATTRIBUTE.type, ATTRIBUTE_TYPE.ints);
}

function writeNode(node: OnnxNode, index: number): BinaryWriter {
  const writer = new BinaryWriter();
  for (const name of node.inputs) text(writer, 1, name);
  for (const name of node.outputs) text(writer, 2, name);
  text(writer, 3, `n${index}`);
  text(writer, 4, node.opType);
  for (const [name, value] of Object.entries(node.attributes)) submessage(writer, 5, writeAttribute(name, value));
  return node.domain ? text(writer, 7, node.domain) : writer;
}

/** The pieces of an initializer's message; its bytes are not copied. */
function initializerPieces({ name, shape, elementType, content }: OnnxInitializer, locate: (file: string) => string): Uint8Array[] {
  const writer = new BinaryWriter();
  for (const n of shape) int(writer, 1, n);
  int(writer, 2, elementType);
  text(writer, 8, name);
  if (content instanceof Uint8Array) return [writer.tag(9, 2).uint32(content.length).finish(), content];
  const place = { location: locate(content.file), offset: String(content.offset), length: String(content.sizeBytes) };
  for (const [key, value] of Object.entries(place)) submessage(writer, 13, text(text(new BinaryWriter(), 1, key), 2, value));
  return [int(writer, 14, 1).finish()];
}

const lengthOf = (pieces: readonly Uint8Array[]): number => pieces.reduce((total, { length }) => total + length, 0);

/** One array of all pieces: the only time that large constants are copied. */
function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(lengthOf(pieces));
  let offset = 0;
  for (const piece of pieces) {
    result.set(piece, offset);
    offset += piece.length;
  }
  return result;
}

function writeValue(name: string, shape: Shape, elementType: number, isHidden = false): BinaryWriter {
  const dimensions = new BinaryWriter();
  for (const n of shape) submessage(dimensions, 1, isHidden ? new BinaryWriter() : int(new BinaryWriter(), 1, n));
  const tensorType = submessage(int(new BinaryWriter(), 1, elementType), 2, dimensions);
  return submessage(text(new BinaryWriter(), 1, name), 2, submessage(new BinaryWriter(), 1, tensorType));
}

/**
 * The bytes of an ONNX model. `locate` turns a weight file's path into one relative to the folder the session will be given.
 *
 * With `areShapesHidden` the inputs' sizes are not declared and the numbers that shapes are computed from could be replaced by a caller, so that
 * onnxruntime cannot know a value's shape before it runs.
 */
export function writeModel(
  graph: {
    readonly nodes: readonly OnnxNode[];
    readonly initializers: readonly OnnxInitializer[];
    readonly inputs: readonly OnnxValue[];
    readonly outputs: readonly OnnxValue[];
  },
  locate: (file: string) => string,
  areShapesHidden = false,
): Uint8Array {
  const head = new BinaryWriter();
  graph.nodes.forEach((node, i) => submessage(head, 1, writeNode(node, i)));
  text(head, 2, "tastemaker");
  const pieces: Uint8Array[] = [head.finish()];
  for (const initializer of graph.initializers) {
    const message = initializerPieces(initializer, locate);
    pieces.push(new BinaryWriter().tag(5, 2).uint32(lengthOf(message)).finish(), ...message);
  }
  const tail = new BinaryWriter();
  for (const { name, shape, dtype } of graph.inputs) submessage(tail, 11, writeValue(name, shape, ELEMENT_TYPE[dtype], areShapesHidden));
  for (const { name, shape, elementType } of graph.initializers) {
    if (areShapesHidden && elementType === ELEMENT_TYPE.int64) submessage(tail, 11, writeValue(name, shape, elementType));
  }
  for (const { name, shape, dtype } of graph.outputs) submessage(tail, 12, writeValue(name, shape, ELEMENT_TYPE[dtype]));
  pieces.push(tail.finish());
  const start = text(int(new BinaryWriter(), 1, 8), 2, "tastemaker").tag(7, 2).uint32(lengthOf(pieces)).finish();
  const end = submessage(new BinaryWriter(), 8, int(new BinaryWriter(), 2, 18));
  submessage(end, 8, int(text(new BinaryWriter(), 1, "com.microsoft"), 2, 1));
  return joined([start, ...pieces, end.finish()]);
}
