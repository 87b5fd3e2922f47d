import { UsageError } from "../../errors.ts";
import { constantOperator } from "../../ops/leaves.ts";
import { type DType, normalizeAxis, type Shape, sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import type { OnnxAttributeValue, ProtoNode } from "./model-proto.ts";

/** The numbers of a tensor that is known while importing, or undefined. */
export function knownValues({ node }: Tensor): Float64Array | undefined {
  return node.operator.name === constantOperator.name ? (node.attributes["data"] as Float64Array) : undefined;
}

/** Matrices and lists that an operator is composed of have at most this many numbers. */
const MOST_CONSTANTS = 1 << 22;

/** Attributes without a meaning here: of training, of how numbers are rounded or stored, or of a mode that is refused where it is read. */
const MEANINGLESS = new Set([
  "stash_type", "saturate", "round_mode", "seed", "ratio", "momentum", "spatial", "is_test", "consumed_inputs", "storage_order", "extrapolation_value", "precision",
  "softmax_precision", "qk_matmul_output_mode", "num_outputs", "output_dtype", "nearest_mode", "cubic_coeff_a", "keep_aspect_ratio_policy",
]);
/** Operands without a meaning here: the part of the picture that only `tf_crop_and_resize` looks at, the share that training drops. */
const MEANINGLESS_OPERANDS: Readonly<Record<string, number>> = { Resize: 1, Dropout: 1 };

/** What a node's mapping sees: operands, attributes, version of the operator set. Every accessor checks and throws `UsageError`. */
export class NodeContext {
  readonly node: ProtoNode;
  /** Version of the operator set of the node's domain. */
  readonly opset: number;
  readonly #operands: readonly (Tensor | undefined)[];
  readonly #constants: ReadonlyMap<string, Tensor>;
  readonly #seenOperands: Set<number> = new Set();
  readonly #seenAttributes: Set<string> = new Set();

  /** `constants` holds the node's tensor attributes. */
  constructor(node: ProtoNode, opset: number, operands: readonly (Tensor | undefined)[], constants: ReadonlyMap<string, Tensor>) {
    this.node = node;
    this.opset = opset;
    this.#operands = operands;
    this.#constants = constants;
  }

  get op(): string {
    return this.node.opType;
  }

  /** Number of operands, absent ones at the end not counted. */
  get count(): number {
    return this.#operands.length;
  }

  /** Whether somebody may use output `i`. */
  hasOutput(i: number): boolean {
    return (this.node.outputs[i] ?? "") !== "";
  }

  /** Operand `i`. */
  x(i = 0): Tensor {
    const tensor = this.optional(i);
    if (tensor === undefined) throw this.error(`expected operand ${i}, got none`);
    return tensor;
  }

  /** Operand `i` as real numbers. */
  real(i = 0): Tensor {
    return this.typed(i, "float32");
  }

  typed(i: number, dtype: DType): Tensor {
    const tensor = this.x(i);
    if (tensor.dtype !== dtype) throw this.error(`expected operand ${i} as ${dtype}, got ${tensor.dtype} [${tensor.shape}]`);
    return tensor;
  }

  /** Operand `i`, or undefined where it is left out. */
  optional(i: number): Tensor | undefined {
    this.#seenOperands.add(i);
    return this.#operands[i];
  }

  /** All operands; none may be left out. */
  all(): Tensor[] {
    if (this.count === 0) throw this.error("expected operands, got none");
    return this.#operands.map((_, i) => this.x(i));
  }

  /** Operand `i` with exactly `rank` axes. */
  ranked(i: number, ...ranks: readonly number[]): Tensor {
    const tensor = this.real(i);
    if (!ranks.includes(tensor.shape.length)) throw this.error(`expected operand ${i} with ${ranks.join(" or ")} axes, got [${tensor.shape}]`);
    return tensor;
  }

  /** The numbers of operand `i`, which must be known while importing. */
  known(i: number): readonly number[] {
    const values = knownValues(this.x(i));
    if (!values) throw this.error(`expected operand ${i} to be known without running the model, got a computed value`, "onnx-dynamic", "export the model with static shapes");
    return Array.from(values);
  }

  /** Whole numbers of operand `i`; undefined where it is left out. */
  optionalInts(i: number): readonly number[] | undefined {
    if (this.optional(i) === undefined) return undefined;
    return this.known(i).map((value) => {
      if (!Number.isInteger(value)) throw this.error(`expected whole numbers as operand ${i}, got ${value}`);
      return value;
    });
  }

  intsOf(i: number): readonly number[] {
    this.x(i);
    return this.optionalInts(i) ?? [];
  }

  /** The one number of operand `i`. */
  scalar(i: number): number {
    const values = this.known(i);
    if (values.length !== 1) throw this.error(`expected one number as operand ${i}, got ${values.length}`);
    return values[0]!;
  }

  optionalScalar(i: number): number | undefined {
    return this.optional(i) === undefined ? undefined : this.scalar(i);
  }

  /** A whole number of an attribute. */
  int(name: string, otherwise: number): number {
    return this.#attribute(name, "int")?.value ?? otherwise;
  }

  /** A whole number that means no or yes. */
  flag(name: string, otherwise: boolean): boolean {
    const value = this.int(name, Number(otherwise));
    if (value !== 0 && value !== 1) throw this.error(`expected 0 or 1 as ${name}, got ${value}`);
    return value === 1;
  }

  float(name: string, otherwise: number): number {
    return this.#attribute(name, "float")?.value ?? otherwise;
  }

  text(name: string, otherwise: string): string {
    return this.#attribute(name, "text")?.value ?? otherwise;
  }

  ints(name: string): readonly number[] | undefined {
    return this.#attribute(name, "ints")?.values;
  }

  floats(name: string): readonly number[] | undefined {
    return this.#attribute(name, "floats")?.values;
  }

  tensor(name: string): Tensor | undefined {
    this.#attribute(name, "tensor");
    return this.#constants.get(name);
  }

  /** One of several words; an unknown one is an error. */
  choice<T extends string>(name: string, options: readonly T[], otherwise: T): T {
    const value = this.text(name, otherwise);
    const found = options.find((option) => option === value);
    if (found === undefined) throw this.unsupported(`${name} "${value.slice(0, 80)}" (supported: ${options.join(", ")})`);
    return found;
  }

  /** A non-negative axis of an operand. */
  axis(value: number, rank: number): number {
    return normalizeAxis(value, rank, this.op);
  }

  /** Distinct non-negative axes, ascending. */
  axes(values: readonly number[], rank: number): number[] {
    const axes = values.map((value) => this.axis(value, rank)).sort((a, b) => a - b);
    if (axes.some((axis, i) => axis === axes[i - 1])) throw this.error(`expected distinct axes, got [${values}]`);
    return axes;
  }

  /** Guards what is written down for this node before it is made. */
  affordable(shape: Shape): Shape {
    const size = sizeOf(shape);
    if (!(size >= 0 && size <= MOST_CONSTANTS)) throw this.error(`expected constants of at most ${MOST_CONSTANTS} numbers, got [${shape}]`, "onnx-too-large");
    return shape;
  }

  error(what: string, code = "onnx-node", hint?: string): UsageError {
    return new UsageError(code, what, hint);
  }

  unsupported(what: string): UsageError {
    return new UsageError("onnx-unsupported", `expected a form of ${this.op} that is supported, got ${what}`);
  }

  /** Throws when the mapping did not look at something that the node has: it would silently compute something else. */
  checkSeen(): void {
    const attribute = [...this.node.attributes.keys()].find((name) => !this.#seenAttributes.has(name) && !MEANINGLESS.has(name));
    if (attribute !== undefined) throw this.unsupported(`attribute ${attribute.slice(0, 80)}`);
    const operand = this.#operands.findIndex((tensor, i) => tensor !== undefined && !this.#seenOperands.has(i) && MEANINGLESS_OPERANDS[this.op] !== i);
    if (operand >= 0) throw this.unsupported(`operand ${operand}`);
  }

  #attribute<K extends OnnxAttributeValue["kind"]>(name: string, kind: K): Extract<OnnxAttributeValue, { kind: K }> | undefined {
    this.#seenAttributes.add(name);
    const value = this.node.attributes.get(name);
    if (value === undefined) return undefined;
    if (value.kind !== kind) throw this.error(`expected attribute ${name} as ${kind}, got ${value.kind}`);
    return value as Extract<OnnxAttributeValue, { kind: K }>;
  }
}

/** Writes one ONNX operator as ours: its outputs in order (those that nobody uses may be left out at the end). */
export type NodeMapping = (context: NodeContext) => Tensor | readonly (Tensor | undefined)[];
