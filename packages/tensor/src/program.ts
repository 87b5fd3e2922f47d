import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { UsageError } from "./errors.ts";
import { numberText } from "./number-text.ts";
import { constantOperator, input, inputOperator, weightOperator } from "./ops/leaves.ts";
import type { DType, Shape } from "./shape.ts";
import { type Attribute, Node, type Port, type Program, Tensor, type WeightSource } from "./tensor.ts";

export type { Port, Program } from "./tensor.ts";

/** Shape and type of an input; float32 unless said. */
export interface InputSpec {
  readonly shape: Shape;
  readonly dtype?: DType;
}

/** All nodes that the tensors need, operands first, in a deterministic order (depth first, operands left to right). */
export function nodesOf(tensors: readonly Tensor[]): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack: { readonly node: Node; next: number }[] = [];
  for (const { node } of tensors) {
    if (seen.has(node)) continue;
    seen.add(node);
    stack.push({ node, next: 0 });
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const operand = top.node.inputs[top.next++];
      if (!operand) {
        order.push(top.node);
        stack.pop();
      } else if (!seen.has(operand.node)) {
        seen.add(operand.node);
        stack.push({ node: operand.node, next: 0 });
      }
    }
  }
  return order;
}

/** Makes a program of named results; its inputs are the `input` leaves they need. Throws when two inputs share a name. */
export function program(outputs: Readonly<Record<string, Tensor>>, inputs?: readonly Port[]): Program {
  const ports = Object.entries(outputs).map(([name, tensor]) => ({ name, tensor }));
  const nodes = nodesOf(ports.map(({ tensor }) => tensor));
  const found = new Map<string, Tensor>(inputs?.map(({ name, tensor }) => [name, tensor]));
  for (const node of nodes) {
    if (node.operator.name !== inputOperator.name) continue;
    const name = node.attributes["name"] as string;
    const known = found.get(name);
    if (known && known !== node.outputs[0]) throw new UsageError("duplicate-input", `program: expected one input named "${name}", got two`);
    found.set(name, node.outputs[0]!);
  }
  return { inputs: [...found].map(([name, tensor]) => ({ name, tensor })), outputs: ports, nodes };
}

/** Writes a function down as a program, for inputs of the given shapes. Declared inputs stay inputs even if unused. */
export function trace(
  fn: (inputs: Readonly<Record<string, Tensor>>) => Readonly<Record<string, Tensor>>,
  inputs: Readonly<Record<string, InputSpec>>,
): Program {
  const ports = Object.entries(inputs).map(([name, { shape, dtype }]) => ({ name, tensor: input(name, shape, dtype) }));
  return program(fn(Object.fromEntries(ports.map(({ name, tensor }) => [name, tensor]))), ports);
}

/** Copies the tensors with some leaves or intermediate values replaced; nodes that do not change are shared. */
export function substitute(tensors: readonly Tensor[], replacements: ReadonlyMap<Tensor, Tensor>): Tensor[] {
  const copies = new Map<Tensor, Tensor>(replacements);
  const get = (tensor: Tensor): Tensor => copies.get(tensor) ?? tensor;
  for (const node of nodesOf(tensors)) {
    if (node.outputs.every((output) => copies.has(output))) continue;
    const operands = node.inputs.map(get);
    if (operands.every((operand, i) => operand === node.inputs[i])) continue;
    new Node(node.operator, operands, node.attributes).outputs.forEach((output, i) => {
      if (!copies.has(node.outputs[i]!)) copies.set(node.outputs[i]!, output);
    });
  }
  return tensors.map(get);
}

const isWeightSource = (value: Attribute): value is WeightSource => typeof value === "object" && value !== null && "key" in value;
const isProgram = (value: Attribute): value is Program => typeof value === "object" && value !== null && "nodes" in value;

function printAttribute(value: Attribute): string {
  if (value instanceof Float64Array) {
    const digest = bytesToHex(sha256(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))).slice(0, 16);
    return value.length <= 4 ? `{${Array.from(value, numberText).join(", ")}}` : `{${value.length} values, sha256 ${digest}}`;
  }
  if (isWeightSource(value)) return `"${value.key}" ${value.dtype} @${value.offset}`;
  if (isProgram(value)) return `{\n${printProgram(value).replace(/^/gm, "    ")}}`;
  if (Array.isArray(value)) return `[${(value as readonly number[]).map(numberText).join(", ")}]`;
  return typeof value === "string" ? JSON.stringify(value) : typeof value === "number" ? numberText(value) : String(value);
}

/** The program as text: one line per node, `name: type[shape] = operator(operands) {attributes}`. */
export function printProgram({ inputs, outputs, nodes }: Program): string {
  const names = new Map<Tensor, string>(inputs.map(({ name, tensor }) => [tensor, name]));
  const describe = (tensor: Tensor): string => `${tensor.dtype}[${tensor.shape}]`;
  const lines = [`program(${inputs.map(({ name, tensor }) => `${name}: ${describe(tensor)}`).join(", ")})`];
  for (const node of nodes) {
    if (names.has(node.outputs[0]!)) continue;
    for (const output of node.outputs) names.set(output, `%${names.size - inputs.length}`);
    const hidden = node.operator.name === constantOperator.name || node.operator.name === weightOperator.name ? ["shape", "dtype"] : [];
    const attributes = Object.entries(node.attributes)
      .filter(([name, value]) => value !== undefined && !hidden.includes(name))
      .map(([name, value]) => `${name}=${printAttribute(value)}`);
    const left = node.outputs.map((output) => `${names.get(output)}: ${describe(output)}`).join(", ");
    const operands = node.inputs.map((operand) => names.get(operand)).join(", ");
    lines.push(`  ${left} = ${node.operator.name}(${operands})${attributes.length ? ` {${attributes.join(", ")}}` : ""}`);
  }
  return `${[...lines, `  return ${outputs.map(({ name, tensor }) => `${name}=${names.get(tensor)}`).join(", ")}`].join("\n")}\n`;
}

/** SHA-256 of the printed program (constants by content, weights by key, type and place in the file), in hex. */
export function hashProgram(traced: Program): string {
  return bytesToHex(sha256(utf8ToBytes(printProgram(traced))));
}
