import { checkShape, type DType, type Shape, type TensorType } from "./shape.ts";

/** Where a frozen weight lies: a run of bytes of a file, used in place. */
export interface WeightSource {
  /** Checkpoint key, verbatim. */
  readonly key: string;
  /** Absolute path of the file that holds the bytes. */
  readonly file: string;
  /** First byte in the file. */
  readonly offset: number;
  readonly sizeBytes: number;
  /** Stored little-endian element type; computed as float32. */
  readonly dtype: "F32" | "F16" | "BF16";
  readonly shape: Shape;
}

/** A value in an operator's attributes. */
export type Attribute =
  | number
  | string
  | boolean
  | readonly number[]
  | Float64Array
  | WeightSource
  | Program
  | undefined;

export type Attributes = Readonly<Record<string, Attribute>>;

/** Float64 values with a shape: what the reference interpreter computes with (integers and booleans as numbers too). */
export interface ReferenceArray {
  readonly shape: Shape;
  readonly data: Float64Array;
}

/** What a derivative rule sees. */
export interface DerivativeContext<A> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attributes: A;
  /** Gradient of the loss by each output; undefined where the loss does not depend on it. */
  readonly cotangents: readonly (Tensor | undefined)[];
  /** Which inputs a gradient is wanted for; others may be left undefined. */
  readonly needed: readonly boolean[];
}

/** Names and types of a node while it is encoded. */
export interface EncodeContext<A> {
  readonly inputs: readonly string[];
  readonly inputTypes: readonly TensorType[];
  readonly outputTypes: readonly TensorType[];
  readonly attributes: A;
  /** True per input when its value is known before the run (constant or frozen weight). */
  readonly isFixed: readonly boolean[];
}

export type OnnxAttribute = number | string | { readonly ints: readonly number[] } | { readonly float: number };

/** Receives ONNX nodes. */
export interface OnnxEmitter {
  /** Execution provider the graph is written for; some kernels exist on the CPU and CUDA only. */
  readonly provider: "cpu" | "cuda" | "webgpu";
  /** How a convolution's input gradient is computed: folded flipped copy of the weight, or transposed convolution in place. */
  readonly convInputGradient: "flip" | "transpose";
  /** Adds a node, returns the names of its outputs (1 unless `outputCount` is given). */
  node(
    opType: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, OnnxAttribute>>,
    options?: { readonly domain?: string; readonly outputCount?: number },
  ): string[];
  /** A float32 constant. */
  floats(values: ArrayLike<number>, shape?: Shape): string;
  /** An int64 constant vector (axes, shapes, …). */
  ints(values: readonly number[]): string;
  /** An int32 constant. */
  int32s(values: ArrayLike<number>, shape: Shape): string;
  /** A bool constant. */
  bools(values: ArrayLike<number>, shape: Shape): string;
  /** A frozen weight mapped from its file, in its stored type. */
  external(source: WeightSource): string;
}

/** Rule that turns output gradients into input gradients (other tensors), or the reason why there is none. */
export type Derivative<A> =
  | { readonly notDifferentiable: string }
  | { rule(context: DerivativeContext<A>): readonly (Tensor | undefined)[] };

/**
 * One operator, whole: shape inference, derivative, ONNX nodes and float64 reference loop in a single record.
 * Methods are pure. `Attributes` must hold everything that changes the result.
 */
export interface Operator<A extends Attributes = Attributes> {
  readonly name: string;
  infer(inputs: readonly TensorType[], attributes: A): readonly TensorType[];
  readonly derivative: Derivative<A>;
  /** Emits nodes and returns one name per output. */
  onnx(emit: OnnxEmitter, context: EncodeContext<A>): readonly string[];
  reference(inputs: readonly ReferenceArray[], attributes: A, outputs: readonly TensorType[]): readonly Float64Array[];
}

/** One application of an operator. Immutable. */
export class Node {
  readonly operator: Operator;
  readonly inputs: readonly Tensor[];
  readonly attributes: Attributes;
  readonly outputs: readonly Tensor[];

  constructor(operator: Operator, inputs: readonly Tensor[], attributes: Attributes) {
    this.operator = operator;
    this.inputs = inputs;
    this.attributes = attributes;
    this.outputs = operator.infer(inputs, attributes).map((type, index) => {
      checkShape(type.shape, operator.name);
      return new Tensor(this, index, type);
    });
  }
}

/** A value of a program that is being written: no numbers, only shape, type and where it comes from. Immutable. */
export class Tensor implements TensorType {
  readonly node: Node;
  readonly index: number;
  readonly shape: Shape;
  readonly dtype: DType;

  constructor(node: Node, index: number, type: TensorType) {
    this.node = node;
    this.index = index;
    this.shape = type.shape;
    this.dtype = type.dtype;
  }
}

/** A named input or output. */
export interface Port {
  readonly name: string;
  readonly tensor: Tensor;
}

/** A pure function over tensors, written down: an immutable list of operator applications in an order in which they can run. */
export interface Program {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Every node the outputs need, operands before users; leaves included. */
  readonly nodes: readonly Node[];
}

/** A tensor, or a number that becomes a scalar constant. */
export type Operand = Tensor | number;

/** Applies an operator; returns its outputs. */
export function apply(operator: Operator, inputs: readonly Tensor[], attributes: Attributes = {}): readonly Tensor[] {
  return new Node(operator, inputs, attributes).outputs;
}

/** Applies an operator with one (main) output. */
export function apply1(operator: Operator, inputs: readonly Tensor[], attributes: Attributes = {}): Tensor {
  return apply(operator, inputs, attributes)[0]!;
}
