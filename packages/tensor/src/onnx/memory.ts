import { bytesOfType, type ValueType } from "./value-types.ts";
import type { OnnxNode } from "./writer.ts";

/** What a program needs while it runs, in bytes. */
export interface MemoryEstimate {
  /** Most memory held at one time: values that nodes make (outputs included), the running node's workspace, the arena's losses. */
  readonly peakBytes: number;
  /** The node that runs then: operator and its outputs' shapes. */
  readonly atNode: string;
  /** Frozen weights in their files. */
  readonly weightsBytes: number;
  readonly inputsBytes: number;
  readonly outputsBytes: number;
}

/** Kernels that write over an operand of the same shape when nobody else needs it. */
const IN_PLACE = new Set(["Add", "Sub", "Mul", "Div", "Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Sigmoid", "Tanh", "Softplus", "Softmax", "Clip", "Cast"]);
/** Kernels whose result is the operand's bytes. */
const VIEWS = new Set(["Reshape", "Identity"]);

/** Memory a kernel takes for itself while it runs, where it is large. Source: onnxruntime, core/providers/cpu and contrib_ops/cpu. */
function workspaceBytes(node: OnnxNode, types: ReadonlyMap<string, ValueType>): number {
  const shapeOf = (i: number): readonly number[] => types.get(node.inputs[i]!)!.shape;
  if (node.opType === "ConvTranspose") {
    // The unfolded gradient of one picture and group.
    const [, outputs, height, width] = shapeOf(1) as [number, number, number, number];
    const [, , rows, columns] = shapeOf(0) as [number, number, number, number];
    return 4 * outputs * height * width * rows * columns;
  }
  if (node.opType === "MultiHeadAttention") {
    // Copies with the heads apart; a causal one keeps its scores too.
    const copies = [0, 1, 2].reduce((total, i) => total + bytesOfType(types.get(node.inputs[i]!)!), 0);
    const isCausal = node.attributes["unidirectional"] === 1;
    const scores = isCausal ? 4 * shapeOf(0)[0]! * (node.attributes["num_heads"] as number) * shapeOf(0)[1]! * shapeOf(1)[1]! : 0;
    return copies + scores;
  }
  return 0;
}

/**
 * What the arena takes beyond the values: freed pieces too small for the next value, and a process's small change.
 * Measured 1.05 to 1.35 (memory.test.ts).
 */
const ARENA_FACTOR = 1.15;

/** What decides about memory, of one node, with values by number. */
interface Step {
  /** Each value once. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** The first two operands, −1 where there is none: candidates to be written over. */
  readonly first: number;
  readonly second: number;
  readonly isView: boolean;
  readonly isInPlace: boolean;
  readonly workspaceBytes: number;
}

/** A graph as the simulation needs it, prepared once for all orders. */
export interface MemoryModel {
  readonly steps: readonly Step[];
  readonly bytes: Float64Array;
  /** Equal for values of equal shape and width. */
  readonly kinds: Int32Array;
  /** How often each value is read, outputs of the graph once more. */
  readonly uses: Int32Array;
  readonly isOutput: Uint8Array;
}

/** Prepares the simulation of a graph. */
export function memoryModel(nodes: readonly OnnxNode[], types: ReadonlyMap<string, ValueType>, outputs: readonly string[]): MemoryModel {
  const numbers = new Map<string, number>();
  const names: string[] = [];
  const numberOf = (name: string): number => {
    const known = numbers.get(name);
    if (known !== undefined) return known;
    numbers.set(name, names.length);
    return names.push(name) - 1;
  };
  const reads: number[] = [];
  const steps = nodes.map((node): Step => {
    const inputs: number[] = [];
    for (const name of node.inputs) {
      const number = name === "" ? -1 : numberOf(name);
      inputs.push(number);
      if (number >= 0) reads.push(number);
    }
    return {
      inputs: inputs.filter((number, i) => number >= 0 && inputs.indexOf(number) === i),
      outputs: node.outputs.map(numberOf),
      first: inputs[0] ?? -1,
      second: inputs[1] ?? -1,
      isView: VIEWS.has(node.opType),
      isInPlace: IN_PLACE.has(node.opType),
      workspaceBytes: workspaceBytes(node, types),
    };
  });
  const [uses, isOutput, kinds] = [new Int32Array(names.length), new Uint8Array(names.length), new Int32Array(names.length)];
  for (const number of reads) uses[number]!++;
  for (const name of outputs) {
    const number = numbers.get(name);
    if (number === undefined) continue;
    uses[number]!++;
    isOutput[number] = 1;
  }
  const kindOf = new Map<string, number>();
  const bytes = new Float64Array(names.length);
  for (const [number, name] of names.entries()) {
    const type = types.get(name);
    if (type === undefined) continue;
    bytes[number] = bytesOfType(type);
    const key = `${type.width}:${type.shape.join()}`;
    const kind = kindOf.get(key) ?? kindOf.size;
    kindOf.set(key, kind);
    kinds[number] = kind;
  }
  return { steps, bytes, kinds, uses, isOutput };
}

/**
 * Follows onnxruntime's allocation plan over an order of nodes: who shares a buffer with whom, and from when to when each buffer lives.
 *
 * Views and in-place results share their operand's buffer. A buffer whose value is no longer needed is kept for the next value of
 * exactly the same shape, however much later that comes, and freed when no such value follows; so it lives from its first value to its last.
 * Where shapes are hidden, only views share.
 * Source: onnxruntime, core/framework/allocation_planner.cc.
 *
 * @returns By how many bytes the total changes before each step.
 */
function planBuffers({ steps, bytes, kinds, uses, isOutput }: MemoryModel, order: readonly number[], areShapesHidden: boolean): Float64Array {
  // A value's holder stands for all values in its place: itself, or the value whose buffer it shares. −1: no buffer (inputs, weights and views of them).
  const holderOf = new Int32Array(bytes.length).fill(-1);
  const users = new Int32Array(bytes.length);
  const bufferOf = new Int32Array(bytes.length);
  const [sizes, firstSteps, lastSteps]: [number[], number[], number[]] = [[], [], []];
  const free = new Map<number, number[]>();
  const isDone = 2 ** 30;
  for (const [time, index] of order.entries()) {
    const step = steps[index]!;
    for (const value of step.outputs) {
      const isResult = isOutput[value] === 1;
      let shared = -1;
      if (!isResult && step.isView) shared = step.first < 0 ? -1 : holderOf[step.first]!;
      else if (!isResult && step.isInPlace && !areShapesHidden) {
        for (const operand of [step.first, step.second]) {
          const holder = operand < 0 ? -1 : holderOf[operand]!;
          if (holder < 0 || users[holder] !== 1 || kinds[holder] !== kinds[value]) continue;
          shared = holder;
          break;
        }
      }
      if (shared >= 0) {
        users[shared]! += uses[value]!;
        // A view has another shape but the same bytes; the plan goes on with the original's.
        holderOf[value] = shared;
        continue;
      }
      // A view of an input or a weight costs nothing.
      if (step.isView && !isResult) continue;
      let buffer = isResult || areShapesHidden ? undefined : free.get(kinds[value]!)?.pop();
      if (buffer === undefined) {
        buffer = sizes.push(bytes[value]!) - 1;
        firstSteps.push(time);
        lastSteps.push(time);
      }
      lastSteps[buffer] = isResult ? order.length : time;
      holderOf[value] = value;
      bufferOf[value] = buffer;
      users[value] = uses[value]!;
    }
    const touch = (value: number, isRead: boolean): void => {
      const holder = holderOf[value]!;
      if (holder < 0) return;
      const buffer = bufferOf[holder]!;
      if (lastSteps[buffer]! < time) lastSteps[buffer] = time;
      if (isRead) users[holder]!--;
    };
    const release = (value: number): void => {
      const holder = holderOf[value]!;
      if (holder < 0 || users[holder]! > 0) return;
      const list = free.get(kinds[holder]!);
      if (list) list.push(bufferOf[holder]!);
      else free.set(kinds[holder]!, [bufferOf[holder]!]);
      users[holder] = isDone;
    };
    for (const value of step.inputs) touch(value, true);
    for (const value of step.outputs) touch(value, false);
    for (const value of step.inputs) release(value);
    for (const value of step.outputs) release(value);
  }
  const change = new Float64Array(order.length + 2);
  for (const [buffer, size] of sizes.entries()) {
    change[firstSteps[buffer]!]! += size;
    change[lastSteps[buffer]! + 1]! -= size;
  }
  return change;
}

/** The peak of a graph that runs in a given order: bytes, and the number of the node that runs then (−1: none). */
export function simulatePeak(model: MemoryModel, order: readonly number[], areShapesHidden: boolean): { readonly peakBytes: number; readonly atNode: number } {
  const change = planBuffers(model, order, areShapesHidden);
  let [held, peakBytes, atNode] = [0, 0, -1];
  for (const [time, index] of order.entries()) {
    held += change[time]!;
    const now = held + model.steps[index]!.workspaceBytes;
    if (now > peakBytes) [peakBytes, atNode] = [now, index];
  }
  return { peakBytes: Math.round(peakBytes * ARENA_FACTOR), atNode };
}

/** A node in words: operator and shapes of its results. */
export const describeNode = (node: OnnxNode | undefined, types: ReadonlyMap<string, ValueType>): string =>
  node ? `${node.opType} ${node.outputs.map((name) => `[${types.get(name)!.shape}]`).join(" ")}` : "nothing";

/** One line for people. */
export function describeMemory({ peakBytes, atNode, weightsBytes, inputsBytes, outputsBytes }: MemoryEstimate): string {
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MiB`;
  return `peak ${mebibytes(peakBytes)} at ${atNode}; weights ${mebibytes(weightsBytes)}, inputs ${mebibytes(inputsBytes)}, outputs ${mebibytes(outputsBytes)}`;
}
