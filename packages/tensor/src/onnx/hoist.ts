import type { WeightSource } from "../tensor.ts";
import { bytesOfType, type ValueType } from "./value-types.ts";
import { ELEMENT_TYPE, type OnnxInitializer, type OnnxNode } from "./writer.ts";

/** Operators that give a weight another form: widened, turned, viewed. */
const PREPARING = new Set(["Cast", "Reshape", "Transpose", "Slice", "MatMul"]);

/** A graph in two parts: what depends on constants and frozen weights alone, and the rest. */
export interface HoistedGraph {
  readonly preparation: { readonly nodes: readonly OnnxNode[]; readonly initializers: readonly OnnxInitializer[] };
  /** Float32 values of the preparation that the rest reads. */
  readonly results: readonly string[];
  readonly nodes: readonly OnnxNode[];
  /** Of the rest, without `results`. */
  readonly initializers: readonly OnnxInitializer[];
}

/** Text that two nodes share only if they compute the same. */
const keyOf = ({ opType, domain, inputs, attributes }: OnnxNode): string => `${domain}.${opType}(${inputs.join()})${JSON.stringify(attributes)}`;

/**
 * Takes out of a graph what is the same in every run, so that it can be computed once: forms of frozen weights, equal ones once. onnxruntime folds
 * constants too, but every use for itself and in many passes over the graph: for eight U-Net steps with gradients that is eight copies of every turned
 * kernel and seconds at the start. `nodes` in an order in which they can run; so are both parts.
 */
export function hoistPreparations(
  nodes: readonly OnnxNode[],
  initializers: readonly OnnxInitializer[],
  types: ReadonlyMap<string, ValueType>,
  outputs: readonly string[],
): HoistedGraph {
  const isOutput = new Set(outputs);
  const elementTypes = new Map(initializers.map(({ name, elementType }) => [name, elementType]));
  const made = new Map<string, OnnxNode>();
  const replaced = new Map<string, string>();
  const rename = (node: OnnxNode): OnnxNode => (node.inputs.some((name) => replaced.has(name)) ? { ...node, inputs: node.inputs.map((name) => replaced.get(name) ?? name) } : node);
  const prepared: OnnxNode[] = [];
  const rest: OnnxNode[] = [];
  for (const original of nodes) {
    const node = rename(original);
    const [name] = node.outputs as [string];
    const elementType = node.opType === "Cast" ? node.attributes["to"] : elementTypes.get(node.inputs[0]!);
    const isPreparation =
      PREPARING.has(node.opType) && !isOutput.has(name) && elementType === ELEMENT_TYPE.float32 && node.inputs.every((input) => elementTypes.has(input));
    if (!isPreparation) {
      rest.push(node);
      continue;
    }
    const key = keyOf(node);
    const known = made.get(key);
    if (known) {
      replaced.set(name, known.outputs[0]!);
      continue;
    }
    made.set(key, node);
    elementTypes.set(name, elementType);
    prepared.push(node);
  }
  const usedBy = (part: readonly OnnxNode[]): Set<string> => new Set(part.flatMap(({ inputs }) => inputs));
  const [early, late] = [usedBy(prepared), usedBy(rest)];
  return {
    preparation: { nodes: prepared, initializers: initializers.filter(({ name }) => early.has(name)) },
    results: prepared.flatMap(({ outputs: [name] }) => (late.has(name!) && bytesOfType(types.get(name!)!) > 0 ? [name!] : [])),
    nodes: rest,
    initializers: initializers.filter(({ name }) => late.has(name)),
  };
}

/** The files that initializers lie in. */
export const weightFiles = (initializers: readonly OnnxInitializer[]): string[] =>
  initializers.flatMap(({ content }) => (content instanceof Uint8Array ? [] : [(content satisfies WeightSource).file]));
