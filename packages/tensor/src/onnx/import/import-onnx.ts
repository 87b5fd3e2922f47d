import { UsageError } from "../../errors.ts";
import { interpretNodes } from "../../interpret.ts";
import { constant, constantOperator, input } from "../../ops/leaves.ts";
import { nodesOf, type Program, program } from "../../program.ts";
import { type DType, type Shape, sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { inlineFunctions } from "./inline-functions.ts";
import { mappingOf, onnxMappings } from "./mappings.ts";
import { type ProtoModel, type ProtoNode, type ProtoValue, readOnnxModel } from "./model-proto.ts";
import { knownValues, NodeContext } from "./node-context.ts";
import { dtypeOfElementType, StoredValues } from "./stored-values.ts";
import { type OnnxFile, onnxInvalid } from "./wire-reader.ts";

export type { OnnxFile } from "./wire-reader.ts";

export interface ImportOnnxOptions {
  /** Opens a file of external data by its path relative to the model's folder (checked to stay inside); absent when there can be none. */
  readonly openExternal?: (location: string) => Promise<OnnxFile>;
  /**
   * Float constants of more elements than this stay in their file and are used in place (default 1024). Raising it puts more of the weights
   * into the program itself; `Infinity` for a file that is not on a disk.
   */
  readonly mapAbove?: number;
  /** The graph's outputs that are wanted, perhaps by what the file says of itself; default all. What only others need is neither read nor has to be supported. */
  readonly outputs?: readonly string[] | ((file: Pick<OnnxModel, "outputs" | "metadata">) => readonly string[]);
}

/** An input or output of an imported model. */
export interface OnnxPort {
  readonly name: string;
  readonly dtype: DType;
  /** Sizes as declared: numbers, names of sizes that may vary, or `?`; undefined where the file does not even say how many axes there are. */
  readonly shape: readonly (number | string)[] | undefined;
}

export interface OnnxShapes {
  /** Values for named sizes, e.g. `{ batch: 1 }`. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** Whole shapes by input name, where names of sizes do not suffice. */
  readonly shapes?: Readonly<Record<string, Shape>>;
}

/** An ONNX file as functions over our tensors. */
export interface OnnxModel {
  /** Inputs that have to be given, in the file's order. */
  readonly inputs: readonly OnnxPort[];
  readonly outputs: readonly OnnxPort[];
  /** The file's own key-value pairs. */
  readonly metadata: ReadonlyMap<string, string>;
  /** The program that wrote the file. */
  readonly producer: string;
  /**
   * Writes the model down for inputs of fixed shapes; outputs by name. Numbers are computed in float32, whatever type the file has.
   * @throws UsageError for inputs that do not fit, and for nodes that cannot be written with our operators for these shapes
   */
  build(inputs: Readonly<Record<string, Tensor>>): Record<string, Tensor>;
  /** `build` as a program with the model's own inputs. */
  program(shapes?: OnnxShapes): Program;
}

/** Results up to this many elements that depend on nothing are computed while importing: shapes, positions, masks. */
const FOLD_LIMIT = 1 << 16;
/** No tensor of a model that fits a computer is larger. */
const MOST_ELEMENTS = 2 ** 31;
const OPSETS = [7, 25] as const;

const describeNode = ({ name, opType, domain }: ProtoNode): string => `${domain === "" ? "" : `${domain.slice(0, 60)}.`}${opType.slice(0, 60)}${name === "" ? "" : ` "${name.slice(0, 120)}"`}`;

/**
 * Nodes that the outputs need, in an order in which they can run. Files are meant to be in such an order, but onnxruntime takes any,
 * and ours are in the one with the lowest peak.
 * @throws UsageError `onnx-invalid` for circles and for values that two nodes make
 */
function neededNodes(nodes: readonly ProtoNode[], outputs: readonly string[], file: string): readonly ProtoNode[] {
  const makers = new Map<string, ProtoNode>();
  for (const node of nodes) {
    for (const name of node.outputs) {
      if (name === "") continue;
      if (makers.has(name)) throw onnxInvalid(`expected one node that makes "${name.slice(0, 120)}", got two`, file);
      makers.set(name, node);
    }
  }
  const order: ProtoNode[] = [];
  const state = new Map<ProtoNode, "open" | "done">();
  const stack: { readonly node: ProtoNode; next: number }[] = [];
  const visit = (name: string): void => {
    const node = makers.get(name);
    if (!node || state.get(node) === "done") return;
    if (state.has(node)) throw onnxInvalid(`expected nodes without circles, got one through ${describeNode(node)}`, file);
    state.set(node, "open");
    stack.push({ node, next: 0 });
  };
  for (const output of outputs) {
    visit(output);
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const name = top.node.inputs[top.next++];
      if (name !== undefined) visit(name);
      else {
        order.push(top.node);
        state.set(top.node, "done");
        stack.pop();
      }
    }
  }
  return order;
}

/** All operators that are missing, with the nodes that need them. */
function checkOperators(nodes: readonly ProtoNode[], file: string): void {
  const missing = new Map<string, string[]>();
  for (const node of nodes) {
    if (mappingOf(node.domain, node.opType)) continue;
    const operator = `${node.domain === "" ? "" : `${node.domain.slice(0, 60)}.`}${node.opType.slice(0, 60)}`;
    missing.set(operator, [...(missing.get(operator) ?? []), node.name.slice(0, 120)]);
  }
  if (missing.size === 0) return;
  const list = [...missing].slice(0, 20).map(([operator, names]) => {
    const shown = names.filter((name) => name !== "").slice(0, 3).map((name) => `"${name}"`);
    const more = names.length - shown.length;
    return `${operator} (${shown.length === 0 ? `${more} nodes` : `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`})`;
  });
  const rest = missing.size > list.length ? ` and ${missing.size - list.length} more` : "";
  throw new UsageError(
    "onnx-operator",
    `ONNX: expected operators that can be differentiated here, got ${list.join(", ")}${rest} (at ${file})`,
    `supported are ${[...onnxMappings.keys()].sort().join(", ")}`,
  );
}

function checkOpsets({ opsets }: ProtoModel, file: string): void {
  const version = opsets.get("") ?? 1;
  if (version < OPSETS[0] || version > OPSETS[1]) {
    throw new UsageError("onnx-opset", `ONNX: expected operator set ${OPSETS[0]} to ${OPSETS[1]}, got ${version} (at ${file})`, "export the model with opset_version=18");
  }
}

function portOf({ name, elementType, shape }: ProtoValue): OnnxPort | undefined {
  const dtype = dtypeOfElementType(elementType);
  return dtype && { name, dtype, shape: shape?.map((size) => size ?? "?") };
}

/** An output need not say its type, and one that nobody wants may be of any. */
const outputPort = (value: ProtoValue): OnnxPort => portOf(value) ?? { name: value.name, dtype: "float32", shape: undefined };

/** Values that depend on constants alone become constants, so that the shapes computed from them are known. */
function folded(outputs: readonly (Tensor | undefined)[]): readonly (Tensor | undefined)[] {
  const open = outputs.filter((tensor): tensor is Tensor => tensor !== undefined && !knownValues(tensor));
  if (open.length === 0) return outputs;
  const nodes = nodesOf(open);
  const isSmall = nodes.every(({ operator, inputs, outputs: results }) =>
    results.every(({ shape }) => sizeOf(shape) <= FOLD_LIMIT) && (inputs.length > 0 || operator.name === constantOperator.name),
  );
  if (!isSmall) return outputs;
  const values = new Map<Tensor, Float64Array>();
  interpretNodes(nodes, values, () => new Float64Array());
  return outputs.map((tensor) => tensor && (knownValues(tensor) ? tensor : constant(values.get(tensor)!, tensor.shape, tensor.dtype)));
}

/** One node written with our operators. Whatever goes wrong names the node. */
function writeNode(node: ProtoNode, opset: number, operands: readonly (Tensor | undefined)[], constants: ReadonlyMap<string, Tensor>, file: string): readonly (Tensor | undefined)[] {
  try {
    // Operands left out at the end are as good as not there.
    const last = operands.findLastIndex((operand) => operand !== undefined);
    const context = new NodeContext(node, opset, operands.slice(0, last + 1), constants);
    const written = mappingOf(node.domain, node.opType)!(context);
    context.checkSeen();
    const outputs = "node" in written ? [written] : written;
    for (const tensor of outputs) {
      if (tensor && sizeOf(tensor.shape) > MOST_ELEMENTS) throw new UsageError("onnx-too-large", `expected at most 2³¹ elements, got [${tensor.shape}]`);
    }
    const isConstant = operands.every((operand) => operand === undefined || knownValues(operand) !== undefined);
    return isConstant ? folded(outputs) : outputs;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const what = error.hint === undefined ? error.message : error.message.slice(0, -error.hint.length - 2);
    throw new UsageError(error.code, `ONNX: ${what} (at node ${describeNode(node)} of ${file})`, error.hint);
  }
}

function checkInput({ name, dtype, shape }: OnnxPort, tensor: Tensor, sizes: Map<string, number>, file: string): void {
  const fits =
    tensor.dtype === dtype &&
    (shape === undefined ||
      (shape.length === tensor.shape.length &&
        shape.every((size, i) => {
          const given = tensor.shape[i]!;
          if (typeof size === "number") return size === given;
          if (size === "?") return true;
          const known = sizes.get(size) ?? given;
          sizes.set(size, known);
          return known === given;
        })));
  if (fits) return;
  const named = [...sizes].map(([size, value]) => `${size} = ${value}`).join(", ");
  throw new UsageError(
    "onnx-input",
    `ONNX: expected input "${name}" as ${dtype}${shape === undefined ? "" : `[${shape.join(",")}]`}${named === "" ? "" : ` with ${named}`}, got ${tensor.dtype}[${tensor.shape}] (at ${file})`,
  );
}

/** Shape of an input with its named sizes filled in. */
function shapeOf({ name, shape }: OnnxPort, { sizes = {}, shapes = {} }: OnnxShapes, file: string): Shape {
  const whole = Object.hasOwn(shapes, name) ? shapes[name] : undefined;
  if (whole) return whole;
  const filled = shape?.map((size) => (typeof size === "number" ? size : Object.hasOwn(sizes, size) ? sizes[size] : undefined));
  if (filled?.every((size) => size !== undefined)) return filled as number[];
  throw new UsageError("onnx-dynamic", `ONNX: expected a fixed shape for input "${name}", got ${shape === undefined ? "an unknown one" : `[${shape.join(",")}]`} (at ${file})`, "give its sizes by name, or its whole shape");
}

/**
 * Reads an ONNX file (opsets 7 to 25, inference graphs) as functions over our tensors, so that it can be differentiated and joined with other programs.
 *
 * What follows from constants alone (shape arithmetic, masks, positions) is computed while importing. Weights stay in their files. Integers are
 * computed as int32, all real types as float32.
 * @throws UsageError `onnx-invalid` for what is no ONNX file, `onnx-operator` naming all operators that are missing, `onnx-opset`, `onnx-type`,
 *   `onnx-external`, `path-outside`, `onnx-too-large`, `unknown-name` for an output that does not exist
 */
export async function importOnnx(file: OnnxFile, options: ImportOnnxOptions = {}): Promise<OnnxModel> {
  const model = await readOnnxModel(file);
  checkOpsets(model, file.name);
  const declared = new Map(model.outputs.map((value) => [value.name, outputPort(value)]));
  const chosen = options.outputs ?? [...declared.keys()];
  const wanted = typeof chosen === "function" ? chosen({ outputs: [...declared.values()], metadata: model.metadata }) : chosen;
  for (const name of wanted) {
    if (!declared.has(name)) throw new UsageError("unknown-name", `ONNX: expected outputs of ${[...declared.keys()].join(", ")}, got "${name}" (at ${file.name})`);
  }
  const nodes = neededNodes(inlineFunctions(model, file.name), wanted, file.name);
  checkOperators(nodes, file.name);

  const used = new Set([...wanted, ...nodes.flatMap(({ inputs }) => inputs)]);
  const stored = new StoredValues(file, { openExternal: options.openExternal, mapAbove: options.mapAbove ?? 1024 });
  const known = new Map<string, Tensor>();
  for (const [name, tensor] of model.initializers) if (used.has(name)) known.set(name, await stored.load(tensor));
  const attributes = new Map<ProtoNode, ReadonlyMap<string, Tensor>>();
  for (const node of nodes) {
    const constants = new Map<string, Tensor>();
    for (const [name, value] of node.attributes) if (value.kind === "tensor") constants.set(name, await stored.load(value.tensor));
    attributes.set(node, constants);
  }

  // Files of early IR versions list initializers among the inputs, as defaults.
  const inputs = model.inputs
    .filter(({ name }) => !model.initializers.has(name))
    .map((value) => {
      const port = portOf(value);
      if (!port && used.has(value.name)) throw new UsageError("onnx-type", `ONNX: expected an input of numbers, got "${value.name}" of type ${value.elementType} (at ${file.name})`);
      return port;
    })
    .filter((port) => port !== undefined);
  const outputs = wanted.map((name) => declared.get(name)!);

  const build = (given: Readonly<Record<string, Tensor>>): Record<string, Tensor> => {
    const values = new Map<string, Tensor>(known);
    const sizes = new Map<string, number>();
    for (const port of inputs) {
      const tensor = Object.hasOwn(given, port.name) ? given[port.name] : undefined;
      if (tensor) {
        checkInput(port, tensor, sizes, file.name);
        values.set(port.name, tensor);
      } else if (used.has(port.name)) throw new UsageError("missing-input", `ONNX: expected input "${port.name}", got nothing (at ${file.name})`);
    }
    const unknown = Object.keys(given).find((name) => !inputs.some((port) => port.name === name));
    if (unknown !== undefined) throw new UsageError("unknown-input", `ONNX: expected inputs ${inputs.map(({ name }) => name).join(", ")}, got "${unknown}" (at ${file.name})`);
    const valueOf = (name: string, user: string): Tensor => {
      const value = values.get(name);
      if (!value) throw onnxInvalid(`expected "${name.slice(0, 120)}" before ${user} uses it, got nothing`, file.name);
      return value;
    };
    for (const node of nodes) {
      const operands = node.inputs.map((name) => (name === "" ? undefined : valueOf(name, describeNode(node))));
      const results = writeNode(node, model.opsets.get(node.domain) ?? 1, operands, attributes.get(node)!, file.name);
      node.outputs.forEach((name, i) => {
        const result = results[i];
        if (name !== "" && result) values.set(name, result);
      });
    }
    return Object.fromEntries(wanted.map((name) => [name, valueOf(name, "the graph's output")]));
  };

  return {
    inputs,
    outputs,
    metadata: model.metadata,
    producer: model.producer,
    build,
    program: (shapes = {}) => {
      const ports = inputs
        .filter(({ name, shape }) => used.has(name) || shape !== undefined)
        .map((port) => ({ name: port.name, tensor: input(port.name, shapeOf(port, shapes, file.name), port.dtype) }));
      return program(build(Object.fromEntries(ports.map(({ name, tensor }) => [name, tensor]))), ports);
    },
  };
}
