import { InternalError } from "../errors.ts";
import { vjp } from "../gradient.ts";
import { interpretNodes } from "../interpret.ts";
import { nodesOf, type Port, type Program, substitute } from "../program.ts";
import { apply, Node, type Operator, type Tensor } from "../tensor.ts";
import { input, inputOperator } from "./leaves.ts";

type SegmentAttributes = { readonly body: Program };

function makeBody(inputs: readonly Tensor[], outputs: readonly Tensor[]): Program {
  const ports = (tensors: readonly Tensor[]): Port[] => tensors.map((tensor, i) => ({ name: `${i}`, tensor }));
  return { inputs: ports(inputs), outputs: ports(outputs), nodes: nodesOf(outputs) };
}

/** Fresh leaves to stand for some tensors inside a body. */
const standIns = (tensors: readonly Tensor[], prefix: string): Tensor[] => tensors.map(({ shape, dtype }, i) => input(`${prefix}${i}`, shape, dtype));

/**
 * A stretch of a program whose intermediate values are not kept for the backward pass: its derivative is another segment that
 * computes them again. Bodies are copied in place when a program is encoded, the forward and the backward copy staying apart.
 */
export const segmentOperator: Operator<SegmentAttributes> = {
  name: "segment",
  infer: (_, { body }) => body.outputs.map(({ tensor: { shape, dtype } }) => ({ shape, dtype })),
  derivative: {
    rule: ({ inputs, cotangents, needed, attributes: { body } }) => {
      const received = cotangents.flatMap((cotangent, i) => (cotangent ? [{ cotangent, output: body.outputs[i]!.tensor }] : []));
      const parameters = standIns(inputs, "x");
      const seeds = standIns(received.map(({ cotangent }) => cotangent), "g");
      const replaced = new Map(body.inputs.map(({ tensor }, i) => [tensor, parameters[i]!]));
      const outputs = substitute(received.map(({ output }) => output), replaced);
      const wanted = parameters.filter((_, i) => needed[i]);
      const gradients = vjp(outputs, seeds, wanted);
      const results = apply(segmentOperator, [...inputs, ...received.map(({ cotangent }) => cotangent)], {
        body: makeBody([...parameters, ...seeds], gradients),
      });
      let next = 0;
      return needed.map((isNeeded) => (isNeeded ? results[next++] : undefined));
    },
  },
  onnx: () => {
    throw new InternalError("segments are copied in place before encoding");
  },
  reference: (inputs, { body }) => {
    const values = new Map(body.inputs.map(({ tensor }, i) => [tensor, inputs[i]!.data]));
    interpretNodes(body.nodes, values, () => {
      throw new InternalError("a weight inside a segment must be one of its inputs");
    });
    return body.outputs.map(({ tensor }) => values.get(tensor)!);
  },
};

/**
 * Runs `fn` on the tensors, keeping only its inputs for the backward pass: intermediate values are computed again there.
 *
 * `fn` may use inputs, weights and constants from outside, but no other outside values (they would be computed twice).
 */
export function recompute(fn: (...xs: Tensor[]) => readonly Tensor[], xs: readonly Tensor[]): readonly Tensor[] {
  const parameters = standIns(xs, "x");
  const outputs = fn(...parameters);
  // Leaves other than constants become inputs of the segment, so that their gradients are found and their bytes are not copied.
  const captured = nodesOf(outputs).flatMap(({ operator, outputs: [leaf] }) =>
    (operator.name === inputOperator.name || operator.name === "weight") && !parameters.includes(leaf!) ? [leaf!] : [],
  );
  return apply(segmentOperator, [...xs, ...captured], { body: makeBody([...parameters, ...captured], outputs) });
}

/** Adds to `values` what each node's outputs are replaced by: copies where an operand changed, for segments the copied results of their bodies. */
function copyInPlace(nodes: readonly Node[], values: Map<Tensor, Tensor>): void {
  const get = (tensor: Tensor): Tensor => values.get(tensor) ?? tensor;
  for (const node of nodes) {
    if (values.has(node.outputs[0]!)) continue;
    const operands = node.inputs.map(get);
    if (node.operator.name === segmentOperator.name) {
      const { body } = node.attributes as SegmentAttributes;
      const inside = new Map(body.inputs.map(({ tensor }, i) => [tensor, operands[i]!]));
      copyInPlace(body.nodes, inside);
      body.outputs.forEach(({ tensor }, i) => values.set(node.outputs[i]!, inside.get(tensor) ?? tensor));
    } else if (operands.some((operand, i) => operand !== node.inputs[i])) {
      new Node(node.operator, operands, node.attributes).outputs.forEach((output, i) => values.set(node.outputs[i]!, output));
    }
  }
}

/** Copies the bodies of all segments in place (nested ones too). The copies share nothing but leaves; nodes outside are copied once. */
export function inlineSegments(tensors: readonly Tensor[]): Tensor[] {
  const nodes = nodesOf(tensors);
  if (!nodes.some(({ operator }) => operator.name === segmentOperator.name)) return [...tensors];
  const values = new Map<Tensor, Tensor>();
  copyInPlace(nodes, values);
  return tensors.map((tensor) => values.get(tensor) ?? tensor);
}
