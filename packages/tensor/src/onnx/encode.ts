import { InternalError } from "../errors.ts";
import { constantOperator, inputOperator, weightOperator } from "../ops/leaves.ts";
import { inlineSegments } from "../ops/segment.ts";
import { reshapeOperator } from "../ops/shaping.ts";
import { nodesOf, type Program } from "../program.ts";
import { simplifyTensors } from "../simplify.ts";
import type { OnnxEmitter, Node, Tensor, WeightSource } from "../tensor.ts";
import { fuseBiases } from "./fuse-biases.ts";
import { GraphBuilder } from "./graph-builder.ts";
import { type HoistedGraph, hoistPreparations, weightFiles } from "./hoist.ts";
import { describeNode, type MemoryEstimate, memoryModel, simulatePeak } from "./memory.ts";
import { candidateListings, dependenciesOf, executionOrder, type Listing } from "./order.ts";
import { bytesOfType, inferValueTypes, type ValueType, widthOfElementType } from "./value-types.ts";
import { ELEMENT_TYPE, type OnnxInitializer, type OnnxNode, writeModel } from "./writer.ts";

export interface EncodeOptions {
  readonly provider: OnnxEmitter["provider"];
  readonly convInputGradient: OnnxEmitter["convInputGradient"];
  /** How the ONNX nodes are listed, which decides when each runs; default: the way with the lowest simulated peak, `natural` among equals. */
  readonly listing?: Listing;
  /**
   * Keeps the values' shapes from onnxruntime until the program runs; default false. It then frees every buffer after its last use, where it
   * would keep it for the next value of the same shape (less than half the memory for a recomputed U-Net), but optimises less.
   */
  readonly hideShapes?: boolean;
}

export interface EncodedProgram {
  readonly model: Uint8Array;
  /** Folder that the external weights' locations are relative to; undefined without external weights. */
  readonly folder: string | undefined;
  /** The nodes as listed in the model, which names them n0, n1, … */
  readonly nodes: readonly OnnxNode[];
  readonly listing: Listing;
  /** Expected need, exact only when no optimiser of onnxruntime changes the graph. */
  readonly memory: MemoryEstimate;
}

/** Longest folder that contains all files (POSIX or Windows separators), with a trailing separator. */
function commonFolder(files: readonly string[]): string {
  const folders = files.map((file) => file.slice(0, Math.max(file.lastIndexOf("/"), file.lastIndexOf("\\")) + 1));
  let shared = folders[0] ?? "";
  for (const folder of folders) {
    while (!folder.startsWith(shared)) shared = shared.slice(0, Math.max(shared.lastIndexOf("/", shared.length - 2), shared.lastIndexOf("\\", shared.length - 2)) + 1);
  }
  return shared;
}

const isWeight = (tensor: Tensor): boolean => tensor.node.operator.name === weightOperator.name;

/**
 * A weight, or another view of a half-precision one. These are emitted anew for each user: one shared widened copy would stay in memory from
 * its first use (forward) to its last (backward).
 */
function isEmittedPerUse({ node }: Tensor): boolean {
  if (node.operator.name === weightOperator.name) return true;
  if (node.operator.name !== reshapeOperator.name) return false;
  const [operand] = node.inputs as readonly [Tensor];
  return isEmittedPerUse(operand) && (!isWeight(operand) || (operand.node.attributes["source"] as WeightSource).dtype !== "F32");
}

/** Emits the nodes and returns the name of any of their values, as of an operand. */
function emitNodes(builder: GraphBuilder, nodes: readonly Node[], inputNames: ReadonlyMap<Tensor, string>): (tensor: Tensor) => string {
  const names = new Map(inputNames);
  const isFixed = (tensor: Tensor): boolean => tensor.node.operator.name === constantOperator.name || isWeight(tensor);
  const emit = (node: Node): readonly string[] => {
    const outputs = node.operator.onnx(builder, {
      inputs: node.inputs.map(nameOf),
      inputTypes: node.inputs,
      outputTypes: node.outputs,
      attributes: node.attributes,
      isFixed: node.inputs.map(isFixed),
    });
    if (outputs.length !== node.outputs.length) throw new InternalError(`${node.operator.name}: emitted ${outputs.length} outputs, declared ${node.outputs.length}`);
    return outputs;
  };
  const nameOf = (tensor: Tensor): string => (isEmittedPerUse(tensor) ? emit(tensor.node)[0]! : names.get(tensor)!);
  for (const node of nodes) {
    if (node.operator.name === inputOperator.name || isEmittedPerUse(node.outputs[0]!)) continue;
    const outputs = emit(node);
    node.outputs.forEach((output, i) => names.set(output, outputs[i]!));
  }
  return nameOf;
}

/**
 * Gives the graph's outputs their names. A value that is no node's result (an input, a constant), or is an output twice, is copied;
 * any other is renamed where it is made, which saves the copy.
 */
function nameOutputs(nodes: readonly OnnxNode[], sources: readonly string[], outputNames: readonly string[]): OnnxNode[] {
  const made = new Set(nodes.flatMap(({ outputs }) => outputs));
  const renamed = new Map<string, string>();
  const copies: OnnxNode[] = [];
  sources.forEach((source, i) => {
    if (made.has(source) && !renamed.has(source)) renamed.set(source, outputNames[i]!);
    else copies.push({ opType: "Identity", inputs: [renamed.get(source) ?? source], outputs: [outputNames[i]!], attributes: {}, domain: "" });
  });
  const rename = (name: string): string => renamed.get(name) ?? name;
  return [...nodes.map((node) => ({ ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) })), ...copies];
}

const WIDTH = { float32: 4, int32: 4, bool: 1 } as const;

/** Shapes of all values in the emitted graph. */
function valueTypes(traced: Program, nodes: readonly OnnxNode[], initializers: readonly OnnxInitializer[]): Map<string, ValueType> {
  const known = new Map<string, ValueType>(traced.inputs.map(({ name, tensor: { shape, dtype } }) => [name, { shape, width: WIDTH[dtype] }]));
  const intConstants = new Map<string, readonly number[]>();
  for (const { name, shape, elementType, content } of initializers) {
    known.set(name, { shape, width: widthOfElementType(elementType) });
    if (elementType === ELEMENT_TYPE.int64 && content instanceof Uint8Array) intConstants.set(name, Array.from(new BigInt64Array(content.slice().buffer), Number));
  }
  return inferValueTypes(nodes, known, intConstants);
}

/** The wanted listing, or the one with the lowest simulated peak. */
function chooseListing(nodes: readonly OnnxNode[], types: ReadonlyMap<string, ValueType>, outputs: readonly string[], { listing: wanted, hideShapes = false }: EncodeOptions) {
  const dependencies = dependenciesOf(nodes);
  const model = memoryModel(nodes, types, outputs);
  let best: { listing: Listing; listed: readonly number[]; peak: { peakBytes: number; atNode: number } } | undefined;
  for (const [listing, listed] of candidateListings(nodes, dependencies)) {
    if (wanted !== undefined && listing !== wanted) continue;
    const peak = simulatePeak(model, executionOrder(dependencies, listed), hideShapes);
    if (!best || peak.peakBytes < best.peak.peakBytes) best = { listing, listed, peak };
  }
  const { listing, listed, peak } = best!;
  return { listing, nodes: listed.map((i) => nodes[i]!), peak: { peakBytes: peak.peakBytes, atNode: describeNode(nodes[peak.atNode], types) } };
}

/** A program as two models, the first of which is run once. */
export interface EncodedParts {
  /** Computes, without inputs, the forms of frozen weights that the program needs; undefined when it needs none. */
  readonly preparation: { readonly model: Uint8Array; readonly folder: string | undefined; readonly results: readonly string[] } | undefined;
  /** Number of ONNX nodes of the program itself. */
  readonly nodeCount: number;
  /** The program, with the preparation's results (float32, by name) as constants. `hideShapes` overrides the option of that name. */
  finish(prepared: ReadonlyMap<string, Float32Array>, hideShapes?: boolean): EncodedProgram;
}

/** Simplifies a program and writes it as ONNX models (opset 18, com.microsoft 1, static shapes); other weights than the prepared ones stay in their files. */
export function encodeInParts(traced: Program, options: EncodeOptions, isPrepared = true): EncodedParts {
  const tensors = inlineSegments(simplifyTensors(traced.outputs.map(({ tensor }) => tensor)));
  const builder = new GraphBuilder(options);
  const inputNames = new Map(traced.inputs.map(({ name, tensor }) => [tensor, name]));
  const sources = tensors.map(emitNodes(builder, nodesOf(tensors), inputNames));
  const outputNames = traced.outputs.map(({ name }) => `out:${name}`);
  const named = nameOutputs(builder.nodes, sources, outputNames);
  const everything = [...builder.initializers.values()];
  const types = valueTypes(traced, named, everything);
  const fused = fuseBiases(named, types, outputNames);
  const hoisted = isPrepared ? hoistPreparations(fused, everything, types, outputNames) : undefined;
  const preparation = hoisted && hoisted.results.length > 0 ? writePreparation(hoisted, types) : undefined;
  const { nodes: rest, initializers: fixed } = hoisted && preparation ? hoisted : { nodes: fused, initializers: everything };
  const finish = (prepared: ReadonlyMap<string, Float32Array>, hideShapes = options.hideShapes ?? false): EncodedProgram => {
    const initializers: OnnxInitializer[] = [
      ...fixed,
      ...[...prepared].map(([name, { buffer, byteOffset, byteLength }]) => ({
        name,
        shape: types.get(name)!.shape,
        elementType: ELEMENT_TYPE.float32,
        content: new Uint8Array(buffer, byteOffset, byteLength),
      })),
    ];
    const { nodes, listing, peak } = chooseListing(rest, types, outputNames, { ...options, hideShapes });
    const files = weightFiles(initializers);
    const folder = files.length > 0 ? commonFolder(files) : undefined;
    const model = writeModel(
      {
        nodes,
        initializers,
        inputs: traced.inputs.map(({ name, tensor: { shape, dtype } }) => ({ name, shape, dtype })),
        outputs: traced.outputs.map(({ name, tensor: { shape, dtype } }) => ({ name: `out:${name}`, shape, dtype })),
      },
      (file) => file.slice(folder?.length ?? 0),
      hideShapes,
    );
    const bytesOfPorts = (ports: Program["inputs"]): number => ports.reduce((total, { tensor }) => total + bytesOfType({ shape: tensor.shape, width: WIDTH[tensor.dtype] }), 0);
    const memory: MemoryEstimate = {
      ...peak,
      weightsBytes: initializers.reduce((total, { content, name }) => total + (content instanceof Uint8Array ? (prepared.has(name) ? content.length : 0) : content.sizeBytes), 0),
      inputsBytes: bytesOfPorts(traced.inputs),
      outputsBytes: bytesOfPorts(traced.outputs),
    };
    return { model, folder, nodes, listing, memory };
  };
  return { preparation, nodeCount: rest.length, finish };
}

/** Simplifies a program and writes it as one ONNX model. Weights stay in their files. */
export function encodeProgram(traced: Program, options: EncodeOptions): EncodedProgram {
  return encodeInParts(traced, options, false).finish(new Map());
}

function writePreparation({ preparation: { nodes, initializers }, results }: HoistedGraph, types: ReadonlyMap<string, ValueType>): EncodedParts["preparation"] {
  const files = weightFiles(initializers);
  const folder = files.length > 0 ? commonFolder(files) : undefined;
  const outputs = results.map((name) => ({ name, shape: types.get(name)!.shape, dtype: "float32" as const }));
  return { model: writeModel({ nodes, initializers, inputs: [], outputs }, (file) => file.slice(folder?.length ?? 0)), folder, results };
}
