import { InternalError } from "../errors.ts";
import { vjp } from "../gradient.ts";
import { interpretNodes } from "../interpret.ts";
import { nodesOf, type Port, type Program, substitute } from "../program.ts";
import { apply, type Operator, type Tensor } from "../tensor.ts";
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

/** Copies the bodies of all segments in place (nested ones too). The copies share nothing but leaves. */
export function inlineSegments(tensors: readonly Tensor[]): Tensor[] {
  const replaced = new Map<Tensor, Tensor>();
  for (const node of nodesOf(tensors)) {
    if (node.operator.name === segmentOperator.name) {
      const { body } = node.attributes as SegmentAttributes;
      const operands = substitute(node.inputs, replaced);
      const copied = substitute(body.outputs.map(({ tensor }) => tensor), new Map(body.inputs.map(({ tensor }, i) => [tensor, operands[i]!])));
      inlineSegments(copied).forEach((output, i) => replaced.set(node.outputs[i]!, output));
    }
  }
  return replaced.size === 0 ? [...tensors] : substitute(tensors, replaced);
}
