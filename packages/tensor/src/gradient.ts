import { InternalError, UsageError } from "./errors.ts";
import { add } from "./ops/elementwise.ts";
import { filled } from "./ops/leaves.ts";
import { sum } from "./ops/reductions.ts";
import { reshape } from "./ops/shaping.ts";
import { nodesOf } from "./program.ts";
import { sameShape, type Shape, sizeOf } from "./shape.ts";
import type { Node, Tensor } from "./tensor.ts";

/** Sums a gradient back to the shape of a value that had been broadcast: the one place where this happens. */
function unbroadcast(gradient: Tensor, shape: Shape): Tensor {
  if (sameShape(gradient.shape, shape)) return gradient;
  const extra = gradient.shape.length - shape.length;
  const axes = gradient.shape.flatMap((n, i) => (i < extra || (shape[i - extra] === 1 && n !== 1) ? [i] : []));
  return reshape(sum(gradient, axes), shape);
}

/** Nodes with an output through which some `wrt` tensor reaches the outputs by real numbers. */
function dependentTensors(nodes: readonly Node[], wrt: readonly Tensor[]): Set<Tensor> {
  const dependent = new Set(wrt);
  for (const node of nodes) {
    if (node.operator.name === "stopGradient" || !node.inputs.some((operand) => dependent.has(operand))) continue;
    for (const output of node.outputs) if (output.dtype === "float32") dependent.add(output);
  }
  return dependent;
}

/**
 * Reverse-mode derivative: Σ cotangentᵢ·∂outputᵢ/∂w for each w of `wrt`, as tensors of their shapes; zeros where nothing connects.
 *
 * Walks the nodes backwards once; each operator's own rule says what it passes to its operands. The result is ordinary tensors,
 * so it can be differentiated again where the rules' operators declare a derivative.
 * Throws a `UsageError` when the path goes through an operator without a derivative.
 */
export function vjp(outputs: readonly Tensor[], cotangents: readonly Tensor[], wrt: readonly Tensor[]): Tensor[] {
  const nodes = nodesOf(outputs);
  const dependent = dependentTensors(nodes, wrt);
  const gradients = new Map<Tensor, Tensor>();
  const accumulate = (tensor: Tensor, gradient: Tensor): void => {
    const known = gradients.get(tensor);
    gradients.set(tensor, known ? add(known, gradient) : gradient);
  };
  outputs.forEach((output, i) => {
    const cotangent = cotangents[i];
    if (!cotangent || !sameShape(cotangent.shape, output.shape)) {
      throw new UsageError("shape-mismatch", `vjp: expected a cotangent of shape [${output.shape}], got [${cotangent?.shape}]`);
    }
    accumulate(output, cotangent);
  });
  for (const node of nodes.toReversed()) {
    const received = node.outputs.map((output) => gradients.get(output));
    const needed = node.inputs.map((operand) => operand.dtype === "float32" && dependent.has(operand));
    if (!needed.includes(true) || received.every((gradient) => gradient === undefined)) continue;
    const { derivative, name } = node.operator;
    if ("notDifferentiable" in derivative) {
      throw new UsageError("not-differentiable", `gradient: ${name} cannot be differentiated: ${derivative.notDifferentiable}`, "use stopGradient on its input");
    }
    const passed = derivative.rule({ inputs: node.inputs, outputs: node.outputs, attributes: node.attributes, cotangents: received, needed });
    if (passed.length !== node.inputs.length) throw new InternalError(`derivative of ${name}: expected ${node.inputs.length} gradients, got ${passed.length}`);
    node.inputs.forEach((operand, i) => {
      const gradient = passed[i];
      if (needed[i] && gradient) accumulate(operand, unbroadcast(gradient, operand.shape));
    });
  }
  return wrt.map((tensor) => gradients.get(tensor) ?? filled(0, tensor.shape));
}

/**
 * Gradients of a scalar by each tensor of `wrt` (zeros where nothing connects).
 * With a cotangent of the output's shape: of Σ output·cotangent.
 */
export function gradients(output: Tensor, wrt: readonly Tensor[], cotangent?: Tensor): Tensor[] {
  if (!cotangent && sizeOf(output.shape) !== 1) {
    throw new UsageError("not-scalar", `gradients: expected a scalar, got [${output.shape}]`, "pass a cotangent of that shape");
  }
  return vjp([output], [cotangent ?? filled(1, output.shape)], wrt);
}
