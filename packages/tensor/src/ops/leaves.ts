import { InternalError, UsageError } from "../errors.ts";
import { sizeOf, type DType, type Shape } from "../shape.ts";
import { apply1, type Operand, type Operator, Tensor, type WeightSource } from "../tensor.ts";

type InputAttributes = { readonly name: string; readonly shape: Shape; readonly dtype: DType };

/** A value fed at run time. */
export const inputOperator: Operator<InputAttributes> = {
  name: "input",
  infer: (_, { shape, dtype }) => [{ shape, dtype }],
  derivative: { notDifferentiable: "a leaf: gradients end here" },
  onnx: () => {
    throw new InternalError("inputs are declared by the encoder");
  },
  reference: () => {
    throw new InternalError("inputs are fed by the interpreter");
  },
};

type ConstantAttributes = { readonly data: Float64Array; readonly shape: Shape; readonly dtype: DType };

/** A value known when the program is written, kept in float64. */
export const constantOperator: Operator<ConstantAttributes> = {
  name: "constant",
  infer: (_, { data, shape, dtype }) => {
    if (data.length !== sizeOf(shape)) {
      throw new UsageError("shape-mismatch", `constant: expected ${sizeOf(shape)} values for shape [${shape}], got ${data.length}`);
    }
    return [{ shape, dtype }];
  },
  derivative: { notDifferentiable: "a leaf: constants have no gradient" },
  onnx: (emit, { attributes: { data, shape, dtype } }) => {
    if (dtype === "float32") return [emit.floats(data, shape)];
    return [dtype === "int32" ? emit.int32s(data, shape) : emit.bools(data, shape)];
  },
  reference: (_, { data }) => [data],
};

type WeightAttributes = { readonly source: WeightSource };

/** A frozen weight that stays in its file. */
export const weightOperator: Operator<WeightAttributes> = {
  name: "weight",
  infer: (_, { source }) => {
    const width = source.dtype === "F32" ? 4 : 2;
    if (source.sizeBytes !== sizeOf(source.shape) * width) {
      throw new UsageError(
        "weight-size",
        `weight ${source.key}: expected ${sizeOf(source.shape) * width} bytes for ${source.dtype} [${source.shape}], got ${source.sizeBytes} (in ${source.file})`,
      );
    }
    return [{ shape: source.shape, dtype: "float32" }];
  },
  derivative: { notDifferentiable: "a leaf: frozen weights have no gradient; make the weight an input to train it" },
  onnx: (emit, { attributes: { source } }) => {
    const name = emit.external(source);
    // The encoder asks anew for every user: one Cast shared by all would keep the widened copy in memory from the first use to the last.
    return [source.dtype === "F32" ? name : emit.node("Cast", [name], { to: 1 })[0]!];
  },
  reference: () => {
    throw new InternalError("weights are read by the interpreter");
  },
};

/** A value fed at run time under `name`. */
export function input(name: string, shape: Shape, dtype: DType = "float32"): Tensor {
  return apply1(inputOperator, [], { name, shape, dtype });
}

/** A value known now; kept in float64 and rounded only by a float32 backend. Booleans are 0 and 1. */
export function constant(data: ArrayLike<number>, shape: Shape, dtype: DType = "float32"): Tensor {
  return apply1(constantOperator, [], { data: Float64Array.from(data), shape, dtype });
}

/** A frozen weight, used in place from its file; float32 whatever its stored type. */
export function weight(source: WeightSource): Tensor {
  return apply1(weightOperator, [], { source });
}

/** A constant tensor filled with one value. */
export function filled(value: number, shape: Shape, dtype: DType = "float32"): Tensor {
  return constant(new Float64Array(sizeOf(shape)).fill(value), shape, dtype);
}

/** A tensor for an operand; numbers become scalar constants of the given type. */
export function asTensor(operand: Operand, dtype: DType = "float32"): Tensor {
  return operand instanceof Tensor ? operand : constant([operand], [], dtype);
}

/** The number a tensor certainly equals everywhere, or undefined. */
export function constantValue(tensor: Tensor): number | undefined {
  if (tensor.node.operator.name !== constantOperator.name) return undefined;
  const data = tensor.node.attributes["data"] as Float64Array;
  const first = data[0];
  return first !== undefined && data.every((v) => v === first) ? first : undefined;
}
