import { UsageError } from "../errors.ts";
import { broadcastShapes, type DType, type Shape, sizeOf, stridesOf, type TensorType } from "../shape.ts";
import { apply, apply1, type Attributes, type Operand, type Operator, type ReferenceArray, Tensor } from "../tensor.ts";
import { asTensor } from "./leaves.ts";

const ONNX_DTYPE: Readonly<Record<DType, number>> = { float32: 1, int32: 6, bool: 9 };

/** Element offsets of an input for each output element under broadcasting. */
function broadcastOffsets(input: Shape, output: Shape): (linear: number) => number {
  if (sizeOf(input) === sizeOf(output)) return (linear) => linear;
  if (sizeOf(input) === 1) return () => 0;
  const outputStrides = stridesOf(output);
  const inputStrides = stridesOf(input);
  const shift = output.length - input.length;
  const strides = output.map((_, i) => (i < shift || input[i - shift] === 1 ? 0 : inputStrides[i - shift]!));
  return (linear) => {
    let rest = linear;
    let offset = 0;
    for (let i = 0; i < outputStrides.length; i++) {
      const step = outputStrides[i]!;
      const position = Math.floor(rest / step);
      rest -= position * step;
      offset += position * strides[i]!;
    }
    return offset;
  };
}

/** Applies a scalar function over broadcast inputs in float64. */
function mapBroadcast(inputs: readonly ReferenceArray[], shape: Shape, f: (...values: number[]) => number): Float64Array {
  const offsets = inputs.map((x) => broadcastOffsets(x.shape, shape));
  const result = new Float64Array(sizeOf(shape));
  for (let i = 0; i < result.length; i++) {
    result[i] = f(...inputs.map((x, k) => x.data[offsets[k]!(i)]!));
  }
  return result;
}

function requireType(name: string, inputs: readonly TensorType[], dtype: DType): void {
  for (const x of inputs) {
    if (x.dtype !== dtype) throw new UsageError("dtype-mismatch", `${name}: expected ${dtype}, got ${x.dtype} [${x.shape}]`);
  }
}

/** Record of a differentiable function of one real number. `onnx` is an ONNX operator's name. */
function unary(
  name: string,
  onnx: string,
  f: (x: number) => number,
  rule: ((gradient: Tensor, x: Tensor, y: Tensor) => Tensor) | "zero",
): Operator {
  return {
    name,
    infer: ([x]) => {
      requireType(name, [x!], "float32");
      return [{ shape: x!.shape, dtype: "float32" }];
    },
    derivative: {
      rule: ({ inputs, outputs, cotangents }) => [rule === "zero" ? undefined : rule(cotangents[0]!, inputs[0]!, outputs[0]!)],
    },
    onnx: (emit, { inputs }) => emit.node(onnx, inputs),
    reference: ([x]) => [x!.data.map(f)],
  };
}

/** erf by its Maclaurin series or continued fraction, to 1e-16 relative. Source: Abramowitz & Stegun 7.1.5, 7.1.14. */
export function erfNumber(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
      term *= (-x * x) / n;
      const part = term / (2 * n + 1);
      sum += part;
      if (part === 0) break;
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / ((a + fraction) * Math.sqrt(Math.PI)));
}

const sigmoidNumber = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

type UnaryName = "neg" | "abs" | "sign" | "exp" | "log" | "sqrt" | "reciprocal" | "sin" | "cos" | "tanh" | "sigmoid" | "erf" | "softplus" | "relu";

export const unaryOperators: Readonly<Record<UnaryName, Operator>> = {
  neg: unary("neg", "Neg", (x) => -x, (g) => neg(g)),
  abs: unary("abs", "Abs", Math.abs, (g, x) => mul(g, sign(x))),
  sign: {
    ...unary("sign", "Sign", Math.sign, "zero"),
    // onnxruntime's WebGPU provider has no Sign kernel.
    onnx: (emit, { inputs }) => {
      if (emit.provider !== "webgpu") return emit.node("Sign", inputs);
      const zero = emit.floats([0], []);
      const above = emit.node("Cast", emit.node("Greater", [inputs[0]!, zero]), { to: 1 });
      const below = emit.node("Cast", emit.node("Less", [inputs[0]!, zero]), { to: 1 });
      return emit.node("Sub", [above[0]!, below[0]!]);
    },
  },
  exp: unary("exp", "Exp", Math.exp, (g, _, y) => mul(g, y)),
  log: unary("log", "Log", Math.log, (g, x) => div(g, x)),
  sqrt: unary("sqrt", "Sqrt", Math.sqrt, (g, _, y) => div(mul(g, 0.5), y)),
  reciprocal: unary("reciprocal", "Reciprocal", (x) => 1 / x, (g, _, y) => neg(mul(g, mul(y, y)))),
  sin: unary("sin", "Sin", Math.sin, (g, x) => mul(g, cos(x))),
  cos: unary("cos", "Cos", Math.cos, (g, x) => neg(mul(g, sin(x)))),
  tanh: unary("tanh", "Tanh", Math.tanh, (g, _, y) => mul(g, sub(1, mul(y, y)))),
  sigmoid: unary("sigmoid", "Sigmoid", sigmoidNumber, (g, _, y) => mul(g, mul(y, sub(1, y)))),
  erf: unary("erf", "Erf", erfNumber, (g, x) => mul(g, mul(2 / Math.sqrt(Math.PI), exp(neg(mul(x, x)))))),
  softplus: unary("softplus", "Softplus", (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), (g, x) => mul(g, sigmoid(x))),
  // Slope 0 at 0, as PyTorch; `maximum(x, 0)` would halve it there.
  relu: unary("relu", "Relu", (x) => Math.max(x, 0), (g, x) => mul(g, cast(greater(x, 0), "float32"))),
};

type GateAttributes = { readonly alpha: number };

/** y = x·s with s = sigmoid(alpha·x): SiLU (alpha 1) and quick GELU (1.702). s is a second output because the gradient needs it. */
export const sigmoidGateOperator: Operator<GateAttributes> = {
  name: "sigmoidGate",
  infer: ([x]) => {
    requireType("sigmoidGate", [x!], "float32");
    return [x!, x!].map(({ shape, dtype }) => ({ shape, dtype }));
  },
  derivative: {
    rule: ({ outputs, cotangents, attributes: { alpha } }) => {
      const [y, s] = outputs as [Tensor, Tensor];
      const complement = sub(1, s);
      const slope = mul(y, complement);
      const main = cotangents[0] && mul(cotangents[0], add(s, alpha === 1 ? slope : mul(slope, alpha)));
      const gate = cotangents[1] && mul(cotangents[1], mul(alpha, mul(s, complement)));
      return [main && gate ? add(main, gate) : (main ?? gate)];
    },
  },
  onnx: (emit, { inputs: [x], attributes: { alpha } }) => {
    const scaled = alpha === 1 ? x! : emit.node("Mul", [x!, emit.floats([alpha], [])])[0]!;
    const s = emit.node("Sigmoid", [scaled])[0]!;
    return [emit.node("Mul", [x!, s])[0]!, s];
  },
  reference: ([x], { alpha }) => {
    const s = x!.data.map((v) => sigmoidNumber(alpha * v));
    return [x!.data.map((v, i) => v * s[i]!), s];
  },
};

/** Exact GELU, x·Φ(x). */
export const geluOperator: Operator = {
  ...unary("gelu", "Gelu", (x) => 0.5 * x * (1 + erfNumber(x / Math.SQRT2)), (g, x) => {
    const cdf = mul(0.5, add(1, erf(mul(x, Math.SQRT1_2))));
    const density = mul(1 / Math.sqrt(2 * Math.PI), exp(mul(-0.5, mul(x, x))));
    return mul(g, add(cdf, mul(x, density)));
  }),
  onnx: (emit, { inputs }) => emit.node("Gelu", inputs, {}, { domain: "com.microsoft" }),
};

type ClampAttributes = { readonly min: number; readonly max: number };

/** clamp(x, min, max) with the true derivative: 1 inside (bounds included, as PyTorch), 0 outside. */
export const clampOperator: Operator<ClampAttributes> = {
  name: "clamp",
  infer: ([x], { min, max }) => {
    requireType("clamp", [x!], "float32");
    if (!(min <= max)) throw new UsageError("bad-range", `clamp: expected min ≤ max, got ${min} and ${max}`);
    return [{ shape: x!.shape, dtype: "float32" }];
  },
  derivative: {
    rule: ({ inputs: [x], cotangents, attributes: { min, max } }) => [
      mul(cotangents[0]!, cast(logicalAnd(greaterEqual(x!, min), lessEqual(x!, max)), "float32")),
    ],
  },
  // An absent bound would mean the largest finite number, not infinity.
  onnx: (emit, { inputs: [x], attributes: { min, max } }) => emit.node("Clip", [x!, emit.floats([min], []), emit.floats([max], [])]),
  reference: ([x], { min, max }) => [x!.data.map((v) => (Number.isNaN(v) ? v : Math.min(Math.max(v, min), max)))],
};

/** Record of a broadcasting function of two numbers. */
function binary(
  name: string,
  onnx: string,
  f: (a: number, b: number) => number,
  types: { readonly from: DType; readonly to: DType },
  rule?: (gradient: Tensor, a: Tensor, b: Tensor, needed: readonly boolean[], y: Tensor) => [Tensor | undefined, Tensor | undefined],
): Operator {
  return {
    name,
    infer: ([a, b]) => {
      requireType(name, [a!, b!], a!.dtype === "int32" && types.from === "float32" ? "int32" : types.from);
      const dtype = types.to === "float32" && a!.dtype === "int32" ? "int32" : types.to;
      return [{ shape: broadcastShapes(a!.shape, b!.shape, name), dtype }];
    },
    derivative: rule
      ? { rule: ({ inputs: [a, b], outputs, cotangents, needed }) => rule(cotangents[0]!, a!, b!, needed, outputs[0]!) }
      : { notDifferentiable: "its result is a truth value" },
    onnx: (emit, { inputs }) => emit.node(onnx, inputs),
    reference: (inputs, _, [output]) => {
      const values = mapBroadcast(inputs, output!.shape, f as (...v: number[]) => number);
      // Integer division truncates towards zero.
      return [output!.dtype === "int32" ? values.map((v) => Math.trunc(v)) : values];
    },
  };
}

const REAL = { from: "float32", to: "float32" } as const;
const COMPARE = { from: "float32", to: "bool" } as const;
const LOGIC = { from: "bool", to: "bool" } as const;

/** Share of the gradient that a maximum or minimum passes to the side that wins; ties are halved, as PyTorch does. */
function winnerShare(winner: Tensor, other: Tensor, isMaximum: boolean): Tensor {
  const wins = cast(isMaximum ? greater(winner, other) : less(winner, other), "float32");
  return add(wins, mul(0.5, cast(equal(winner, other), "float32")));
}

/** aᵇ as IEEE 754 has it; JavaScript's own power is NaN for 1^∞ and 1^NaN. */
const powNumber = (a: number, b: number): number => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b);

type BinaryName = "add" | "sub" | "mul" | "div" | "pow" | "maximum" | "minimum" | "less" | "lessEqual" | "greater" | "greaterEqual" | "equal" | "logicalAnd" | "logicalOr";

export const binaryOperators: Readonly<Record<BinaryName, Operator>> = {
  add: binary("add", "Add", (a, b) => a + b, REAL, (g) => [g, g]),
  sub: binary("sub", "Sub", (a, b) => a - b, REAL, (g, _a, _b, needed) => [g, needed[1] ? neg(g) : undefined]),
  mul: binary("mul", "Mul", (a, b) => a * b, REAL, (g, a, b, needed) => [
    needed[0] ? mul(g, b) : undefined,
    needed[1] ? mul(g, a) : undefined,
  ]),
  div: binary("div", "Div", (a, b) => a / b, REAL, (g, _, b, needed, y) => {
    const quotient = div(g, b);
    return [quotient, needed[1] ? neg(mul(quotient, y)) : undefined];
  }),
  pow: binary("pow", "Pow", powNumber, REAL, (g, a, b, needed, y) => [
    needed[0] ? mul(g, mul(b, pow(a, sub(b, 1)))) : undefined,
    // y·log a, with its limit 0 where a is 0.
    needed[1] ? mul(g, mul(y, log(where(equal(a, 0), 1, a)))) : undefined,
  ]),
  maximum: binary("maximum", "Max", Math.max, REAL, (g, a, b, needed) => [
    needed[0] ? mul(g, winnerShare(a, b, true)) : undefined,
    needed[1] ? mul(g, winnerShare(b, a, true)) : undefined,
  ]),
  minimum: binary("minimum", "Min", Math.min, REAL, (g, a, b, needed) => [
    needed[0] ? mul(g, winnerShare(a, b, false)) : undefined,
    needed[1] ? mul(g, winnerShare(b, a, false)) : undefined,
  ]),
  less: binary("less", "Less", (a, b) => Number(a < b), COMPARE),
  lessEqual: binary("lessEqual", "LessOrEqual", (a, b) => Number(a <= b), COMPARE),
  greater: binary("greater", "Greater", (a, b) => Number(a > b), COMPARE),
  greaterEqual: binary("greaterEqual", "GreaterOrEqual", (a, b) => Number(a >= b), COMPARE),
  equal: binary("equal", "Equal", (a, b) => Number(a === b), COMPARE),
  logicalAnd: binary("logicalAnd", "And", (a, b) => Number(a !== 0 && b !== 0), LOGIC),
  logicalOr: binary("logicalOr", "Or", (a, b) => Number(a !== 0 || b !== 0), LOGIC),
};

export const logicalNotOperator: Operator = {
  name: "logicalNot",
  infer: ([x]) => {
    requireType("logicalNot", [x!], "bool");
    return [{ shape: x!.shape, dtype: "bool" }];
  },
  derivative: { notDifferentiable: "its result is a truth value" },
  onnx: (emit, { inputs }) => emit.node("Not", inputs),
  reference: ([x]) => [x!.data.map((v) => Number(v === 0))],
};

/** where(condition, a, b): a where the condition holds, b elsewhere; the branch not taken gets gradient 0. */
export const whereOperator: Operator = {
  name: "where",
  infer: ([condition, a, b]) => {
    requireType("where", [condition!], "bool");
    requireType("where", [b!], a!.dtype);
    const branches = broadcastShapes(a!.shape, b!.shape, "where");
    return [{ shape: broadcastShapes(condition!.shape, branches, "where"), dtype: a!.dtype }];
  },
  derivative: {
    rule: ({ inputs: [condition], cotangents, needed }) => [
      undefined,
      needed[1] ? where(condition!, cotangents[0]!, 0) : undefined,
      needed[2] ? where(condition!, 0, cotangents[0]!) : undefined,
    ],
  },
  onnx: (emit, { inputs }) => emit.node("Where", inputs),
  reference: (inputs, _, outputs) => [mapBroadcast(inputs, outputs[0]!.shape, (c, a, b) => (c !== 0 ? a! : b!) as number)],
};

type CastAttributes = { readonly to: DType };

/** Conversion of element type; float to integer truncates towards zero, anything to bool is `≠ 0`. */
export const castOperator: Operator<CastAttributes> = {
  name: "cast",
  infer: ([x], { to }) => [{ shape: x!.shape, dtype: to }],
  derivative: { rule: ({ cotangents, attributes: { to } }) => [to === "float32" ? cotangents[0] : undefined] },
  onnx: (emit, { inputs, attributes: { to } }) => emit.node("Cast", inputs, { to: ONNX_DTYPE[to] }),
  reference: ([x], { to }) => [
    to === "float32" ? x!.data : to === "bool" ? x!.data.map((v) => Number(v !== 0)) : x!.data.map((v) => Math.trunc(v)),
  ],
};

/** Identity whose derivative is zero. */
export const stopGradientOperator: Operator = {
  name: "stopGradient",
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  derivative: { rule: () => [undefined] },
  onnx: (_, { inputs }) => inputs,
  reference: ([x]) => [x!.data],
};

function applyBinary(operator: Operator, a: Operand, b: Operand): Tensor {
  const dtype = a instanceof Tensor ? a.dtype : b instanceof Tensor ? b.dtype : "float32";
  return apply1(operator, [asTensor(a, dtype), asTensor(b, dtype)]);
}

/** a + b, broadcasting. */
export const add = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.add, a, b);
/** a − b, broadcasting. */
export const sub = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.sub, a, b);
/** a · b elementwise, broadcasting. */
export const mul = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.mul, a, b);
/** a / b, broadcasting. */
export const div = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.div, a, b);
/** aᵇ elementwise, broadcasting; NaN for a negative a and a b that is no integer. */
export const pow = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.pow, a, b);
/** The larger of a and b; ties share the gradient. */
export const maximum = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.maximum, a, b);
/** The smaller of a and b; ties share the gradient. */
export const minimum = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.minimum, a, b);
/** a < b as bool. */
export const less = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.less, a, b);
/** a ≤ b as bool. */
export const lessEqual = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.lessEqual, a, b);
/** a > b as bool. */
export const greater = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.greater, a, b);
/** a ≥ b as bool. */
export const greaterEqual = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.greaterEqual, a, b);
/** a = b as bool. */
export const equal = (a: Operand, b: Operand): Tensor => applyBinary(binaryOperators.equal, a, b);
/** a and b, both bool. */
export const logicalAnd = (a: Tensor, b: Tensor): Tensor => apply1(binaryOperators.logicalAnd, [a, b]);
/** a or b, both bool. */
export const logicalOr = (a: Tensor, b: Tensor): Tensor => apply1(binaryOperators.logicalOr, [a, b]);
/** not x, bool. */
export const logicalNot = (x: Tensor): Tensor => apply1(logicalNotOperator, [x]);
/** a where the condition holds, else b; broadcasting. */
export const where = (condition: Tensor, a: Operand, b: Operand): Tensor => {
  const dtype = a instanceof Tensor ? a.dtype : b instanceof Tensor ? b.dtype : "float32";
  return apply1(whereOperator, [condition, asTensor(a, dtype), asTensor(b, dtype)]);
};
/** −x. */
export const neg = (x: Tensor): Tensor => apply1(unaryOperators.neg, [x]);
/** |x|; gradient sign(x), 0 at 0. */
export const abs = (x: Tensor): Tensor => apply1(unaryOperators.abs, [x]);
/** −1, 0 or 1; gradient 0. */
export const sign = (x: Tensor): Tensor => apply1(unaryOperators.sign, [x]);
/** eˣ. */
export const exp = (x: Tensor): Tensor => apply1(unaryOperators.exp, [x]);
/** Natural logarithm. */
export const log = (x: Tensor): Tensor => apply1(unaryOperators.log, [x]);
/** √x; the gradient is infinite at 0. */
export const sqrt = (x: Tensor): Tensor => apply1(unaryOperators.sqrt, [x]);
/** 1/x. */
export const reciprocal = (x: Tensor): Tensor => apply1(unaryOperators.reciprocal, [x]);
/** Sine of radians. */
export const sin = (x: Tensor): Tensor => apply1(unaryOperators.sin, [x]);
/** Cosine of radians. */
export const cos = (x: Tensor): Tensor => apply1(unaryOperators.cos, [x]);
/** Hyperbolic tangent. */
export const tanh = (x: Tensor): Tensor => apply1(unaryOperators.tanh, [x]);
/** 1/(1+e⁻ˣ). */
export const sigmoid = (x: Tensor): Tensor => apply1(unaryOperators.sigmoid, [x]);
/** Gauss error function. */
export const erf = (x: Tensor): Tensor => apply1(unaryOperators.erf, [x]);
/** log(1+eˣ), without overflow. */
export const softplus = (x: Tensor): Tensor => apply1(unaryOperators.softplus, [x]);
/** max(x, 0); gradient 0 at 0. */
export const relu = (x: Tensor): Tensor => apply1(unaryOperators.relu, [x]);
/** x². */
export const square = (x: Tensor): Tensor => mul(x, x);
/** x·sigmoid(x). */
export const silu = (x: Tensor): Tensor => apply(sigmoidGateOperator, [x], { alpha: 1 })[0]!;
/** x·sigmoid(1.702 x), OpenAI CLIP's approximation of GELU. */
export const quickGelu = (x: Tensor): Tensor => apply(sigmoidGateOperator, [x], { alpha: 1.702 })[0]!;
/** Exact GELU, x·Φ(x). */
export const gelu = (x: Tensor): Tensor => apply1(geluOperator, [x]);
/** x limited to [min, max]; gradient 1 inside and 0 outside. */
export const clamp = (x: Tensor, min: number, max: number): Tensor => apply1(clampOperator, [x], { min, max } satisfies Attributes);
/** x with another element type. */
export const cast = (x: Tensor, dtype: DType): Tensor => (x.dtype === dtype ? x : apply1(castOperator, [x], { to: dtype }));
/** x, as a constant to the gradient. */
export const stopGradient = (x: Tensor): Tensor => apply1(stopGradientOperator, [x]);
