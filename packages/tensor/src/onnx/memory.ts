import { executionOrder } from "./order.ts";
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

interface Buffer {
  readonly bytes: number;
  readonly firstStep: number;
  lastStep: number;
}

/**
 * Follows onnxruntime's allocation plan over a list of nodes: who shares a buffer with whom, and from when to when each buffer lives.
 *
 * Views and in-place results share their operand's buffer. A buffer whose value is no longer needed is kept for the next value of
 * exactly the same shape, however much later that comes, and freed when no such value follows; so it lives from its first value to its last.
 * Where shapes are hidden, only views share.
 * Source: onnxruntime, core/framework/allocation_planner.cc.
 */
function planBuffers(ordered: readonly OnnxNode[], types: ReadonlyMap<string, ValueType>, outputs: ReadonlySet<string>, areShapesHidden: boolean): Buffer[] {
  const uses = new Map<string, number>();
  for (const { inputs } of ordered) for (const name of inputs) uses.set(name, (uses.get(name) ?? 0) + 1);
  for (const name of outputs) uses.set(name, (uses.get(name) ?? 0) + 1);
  const buffers: Buffer[] = [];
  const bufferOf = new Map<string, { readonly buffer: Buffer; readonly key: string; users: number }>();
  const free = new Map<string, Buffer[]>();
  const keyOf = ({ shape, width }: ValueType): string => `${width}:${shape.join()}`;
  ordered.forEach((node, step) => {
    for (const name of node.outputs) {
      const type = types.get(name)!;
      const key = keyOf(type);
      const users = uses.get(name) ?? 0;
      const first = bufferOf.get(node.inputs[0] ?? "");
      const shared = outputs.has(name)
        ? undefined
        : VIEWS.has(node.opType)
          ? first
          : IN_PLACE.has(node.opType) && !areShapesHidden
            ? [first, bufferOf.get(node.inputs[1] ?? "")].find((operand) => operand?.users === 1 && operand.key === key)
            : undefined;
      if (shared) {
        shared.users += users;
        shared.buffer.lastStep = step;
        // A view has another shape but the same bytes; the plan goes on with the original's.
        bufferOf.set(name, shared);
        continue;
      }
      // A view of an input or a weight costs nothing.
      if (VIEWS.has(node.opType) && !outputs.has(name)) continue;
      let buffer = outputs.has(name) || areShapesHidden ? undefined : free.get(key)?.pop();
      if (!buffer) {
        buffer = { bytes: bytesOfType(type), firstStep: step, lastStep: step };
        buffers.push(buffer);
      }
      buffer.lastStep = outputs.has(name) ? ordered.length : step;
      bufferOf.set(name, { buffer, key, users });
    }
    for (const name of [...node.inputs, ...node.outputs]) {
      const held = bufferOf.get(name);
      if (!held) continue;
      held.buffer.lastStep = Math.max(held.buffer.lastStep, step);
      if (node.inputs.includes(name)) held.users--;
    }
    for (const held of new Set([...node.inputs, ...node.outputs].flatMap((name) => bufferOf.get(name) ?? []))) {
      if (held.users > 0) continue;
      const list = free.get(held.key);
      if (list) list.push(held.buffer);
      else free.set(held.key, [held.buffer]);
      held.users = Infinity;
    }
  });
  return buffers;
}

/** The peak of a list of nodes as onnxruntime would run it. */
export function simulatePeak(
  listed: readonly OnnxNode[],
  types: ReadonlyMap<string, ValueType>,
  outputs: readonly string[],
  areShapesHidden: boolean,
): { readonly peakBytes: number; readonly atNode: string } {
  const ordered = executionOrder(listed).map((i) => listed[i]!);
  const buffers = planBuffers(ordered, types, new Set(outputs), areShapesHidden);
  const change = new Float64Array(ordered.length + 2);
  for (const { bytes, firstStep, lastStep } of buffers) {
    change[firstStep]! += bytes;
    change[lastStep + 1]! -= bytes;
  }
  let [held, peakBytes, at] = [0, 0, 0];
  ordered.forEach((node, step) => {
    held += change[step]!;
    const now = held + workspaceBytes(node, types);
    if (now > peakBytes) [peakBytes, at] = [now, step];
  });
  const node = ordered[at];
  const atNode = node ? `${node.opType} ${node.outputs.map((name) => `[${types.get(name)!.shape}]`).join(" ")}` : "nothing";
  return { peakBytes: Math.round(peakBytes * ARENA_FACTOR), atNode };
}

/** One line for people. */
export function describeMemory({ peakBytes, atNode, weightsBytes, inputsBytes, outputsBytes }: MemoryEstimate): string {
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MiB`;
  return `peak ${mebibytes(peakBytes)} at ${atNode}; weights ${mebibytes(weightsBytes)}, inputs ${mebibytes(inputsBytes)}, outputs ${mebibytes(outputsBytes)}`;
}
