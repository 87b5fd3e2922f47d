import { InternalError } from "./errors.ts";
import type { Node, Tensor, WeightSource } from "./tensor.ts";

/**
 * Runs nodes in float64 by their reference loops, adding every output to `values` (which already holds the inputs).
 * Slow and plain: it is what everything else is checked against.
 */
export function interpretNodes(nodes: readonly Node[], values: Map<Tensor, Float64Array>, readWeight: (source: WeightSource) => Float64Array): void {
  for (const node of nodes) {
    if (values.has(node.outputs[0]!)) continue;
    if (node.operator.name === "input") throw new InternalError(`no value for input "${String(node.attributes["name"])}"`);
    if (node.operator.name === "weight") {
      values.set(node.outputs[0]!, readWeight(node.attributes["source"] as WeightSource));
      continue;
    }
    const operands = node.inputs.map((operand) => ({ shape: operand.shape, data: values.get(operand)! }));
    const results = node.operator.reference(operands, node.attributes, node.outputs);
    node.outputs.forEach((output, i) => values.set(output, results[i]!));
  }
}
