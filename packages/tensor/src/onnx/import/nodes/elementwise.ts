import {
  abs, add, cast, clamp, cos, div, equal, erf, exp, gelu, greater, greaterEqual, less, lessEqual, log, logicalAnd, logicalNot, logicalOr,
  maximum, minimum, mul, neg, pow, reciprocal, relu, sigmoid, sign, silu, sin, softplus, sqrt, square, sub, tanh, where,
} from "../../../ops/elementwise.ts";
import { constantValue, filled } from "../../../ops/leaves.ts";
import { expand, reshape } from "../../../ops/shaping.ts";
import { broadcastShapes, sizeOf } from "../../../shape.ts";
import type { Tensor } from "../../../tensor.ts";
import type { NodeContext, NodeMapping } from "../node-context.ts";
import { dtypeOfElementType } from "../stored-values.ts";
import { viaReal } from "./helpers.ts";

const unary = (fn: (x: Tensor) => Tensor): NodeMapping => (node) => fn(node.real());
/** Of two numbers of one type, real or whole. */
const binary = (fn: (a: Tensor, b: Tensor) => Tensor): NodeMapping => (node) => {
  const [a, b] = [node.x(0), node.x(1)];
  if (a.dtype !== b.dtype) throw node.error(`expected two operands of one type, got ${a.dtype} and ${b.dtype}`);
  if (a.dtype === "bool") throw node.error("expected numbers, got truth values");
  return fn(a, b);
};
const folded = (fn: (a: Tensor, b: Tensor) => Tensor): NodeMapping => (node) => node.all().reduce((a, b) => binaryOf(node, fn, a, b));

function binaryOf(node: NodeContext, fn: (a: Tensor, b: Tensor) => Tensor, a: Tensor, b: Tensor): Tensor {
  if (a.dtype !== b.dtype || a.dtype === "bool") throw node.error(`expected numbers of one type, got ${a.dtype} and ${b.dtype}`);
  return fn(a, b);
}

const logic = (fn: (a: Tensor, b: Tensor) => Tensor): NodeMapping => (node) => fn(node.typed(0, "bool"), node.typed(1, "bool"));

/** Largest whole number not above x, for |x| < 2³¹; its slope is 0. */
export function floor(x: Tensor): Tensor {
  const towardsZero = cast(cast(x, "int32"), "float32");
  return sub(towardsZero, cast(greater(towardsZero, x), "float32"));
}

/** Nearest whole number, halves to even. */
function roundEven(x: Tensor): Tensor {
  const low = floor(x);
  const rest = sub(x, low);
  const isOdd = greater(sub(low, mul(2, floor(mul(low, 0.5)))), 0.5);
  return add(low, cast(logicalOr(greater(rest, 0.5), logicalAnd(equal(rest, 0.5), isOdd)), "float32"));
}

/** alpha·(eˣ − 1) below 0; the exponential never sees a positive number, so that nothing overflows in the branch not taken. */
const eluOf = (x: Tensor, alpha: number, scale = 1): Tensor =>
  where(greater(x, 0), scale === 1 ? x : mul(x, scale), mul(alpha * scale, sub(exp(clamp(x, -Infinity, 0)), 1)));

/** GELU by a hyperbolic tangent. Source: Hendrycks & Gimpel 2016, §2. */
export const geluTanh = (x: Tensor): Tensor => {
  const inner = mul(Math.sqrt(2 / Math.PI), add(x, mul(0.044715, mul(x, mul(x, x)))));
  return mul(mul(0.5, x), add(1, tanh(inner)));
};

const hardSigmoid = (x: Tensor, alpha: number, beta: number): Tensor => clamp(add(mul(alpha, x), beta), 0, 1);

function power(node: NodeContext): Tensor {
  const base = node.x(0);
  const exponent = cast(node.x(1), base.dtype);
  const value = constantValue(exponent);
  const shape = broadcastShapes(base.shape, exponent.shape, "Pow");
  const withShape = (x: Tensor): Tensor => expand(x, shape);
  if (base.dtype === "float32") {
    if (value === 0) return expand(filled(1, []), shape);
    if (value === 1) return withShape(base);
    if (value === 2) return withShape(square(base));
    if (value === 3) return withShape(mul(base, square(base)));
    if (value === 0.5) return withShape(sqrt(base));
    if (value === -1) return withShape(reciprocal(base));
  }
  return pow(base, exponent);
}

/** Limits of Clip: attributes before opset 11, operands since; known ones become one operator with the exact slope. */
function clip(node: NodeContext): Tensor {
  const x = node.x(0);
  if (node.opset < 11) return clamp(node.real(), node.float("min", -Infinity), node.float("max", Infinity));
  const limit = (i: number): number | Tensor | undefined => {
    const bound = node.optional(i);
    if (!bound) return undefined;
    if (sizeOf(bound.shape) !== 1) throw node.error(`expected one number as limit, got [${bound.shape}]`);
    return constantValue(bound) ?? reshape(bound, []);
  };
  const [low, high] = [limit(1), limit(2)];
  if (x.dtype === "float32" && typeof low !== "object" && typeof high !== "object" && (low ?? -Infinity) <= (high ?? Infinity)) {
    return low === undefined && high === undefined ? x : clamp(x, low ?? -Infinity, high ?? Infinity);
  }
  const raised = low === undefined ? x : maximum(x, low);
  return high === undefined ? raised : minimum(raised, high);
}

function castTo(node: NodeContext, elementType: number): Tensor {
  const dtype = dtypeOfElementType(elementType);
  if (dtype === undefined) throw node.unsupported(`element type ${elementType}`);
  return cast(node.x(0), dtype);
}

function prelu(node: NodeContext): Tensor {
  const [x, slope] = [node.real(0), node.real(1)];
  return where(greaterEqual(x, 0), x, mul(slope, x));
}

function modulo(node: NodeContext): Tensor {
  const [a, b] = [node.x(0), node.x(1)];
  if (a.dtype !== b.dtype) throw node.error(`expected two operands of one type, got ${a.dtype} and ${b.dtype}`);
  // The remainder takes the divisor's sign, or the dividend's with fmod.
  if (!node.flag("fmod", false)) {
    return viaReal(a, (x) => {
      const y = cast(b, "float32");
      return sub(x, mul(y, floor(div(x, y))));
    });
  }
  return viaReal(a, (x) => {
    const y = cast(b, "float32");
    return sub(x, mul(y, cast(cast(div(x, y), "int32"), "float32")));
  });
}

const comparable = (x: Tensor): Tensor => (x.dtype === "bool" ? cast(x, "int32") : x);
const compare = (fn: (a: Tensor, b: Tensor) => Tensor): NodeMapping => (node) => {
  const [a, b] = [comparable(node.x(0)), comparable(node.x(1))];
  if (a.dtype !== b.dtype) throw node.error(`expected two operands of one type, got ${a.dtype} and ${b.dtype}`);
  return fn(a, b);
};

export const elementwiseNodes: Readonly<Record<string, NodeMapping>> = {
  Add: binary(add),
  Sub: binary(sub),
  Mul: binary(mul),
  Div: binary(div),
  Pow: power,
  Mod: modulo,
  Sum: folded(add),
  Mean: (node) => mul(node.all().reduce((a, b) => binaryOf(node, add, a, b)), 1 / node.count),
  Max: folded(maximum),
  Min: folded(minimum),
  Neg: (node) => (node.x().dtype === "int32" ? sub(0, node.x()) : neg(node.real())),
  Abs: (node) => (node.x().dtype === "int32" ? maximum(node.x(), sub(0, node.x())) : abs(node.real())),
  Sign: (node) => viaReal(node.x(), sign),
  Sqrt: unary(sqrt),
  Exp: unary(exp),
  Log: unary(log),
  Erf: unary(erf),
  Sin: unary(sin),
  Cos: unary(cos),
  Tan: unary((x) => div(sin(x), cos(x))),
  Sinh: unary((x) => mul(0.5, sub(exp(x), exp(neg(x))))),
  Cosh: unary((x) => mul(0.5, add(exp(x), exp(neg(x))))),
  Reciprocal: unary(reciprocal),
  Floor: unary(floor),
  Ceil: unary((x) => neg(floor(neg(x)))),
  Round: unary(roundEven),
  Relu: (node) => (node.x().dtype === "int32" ? maximum(node.x(), 0) : relu(node.real())),
  LeakyRelu: (node) => where(greaterEqual(node.real(), 0), node.real(), mul(node.float("alpha", 0.01), node.real())),
  PRelu: prelu,
  ThresholdedRelu: (node) => where(greater(node.real(), node.float("alpha", 1)), node.real(), 0),
  Elu: (node) => eluOf(node.real(), node.float("alpha", 1)),
  Selu: (node) => eluOf(node.real(), node.float("alpha", 1.6732632423543772), node.float("gamma", 1.0507009873554805)),
  Celu: (node) => {
    const alpha = node.float("alpha", 1);
    return where(greater(node.real(), 0), node.real(), mul(alpha, sub(exp(mul(clamp(node.real(), -Infinity, 0), 1 / alpha)), 1)));
  },
  Sigmoid: unary(sigmoid),
  HardSigmoid: (node) => hardSigmoid(node.real(), node.float("alpha", 0.2), node.float("beta", 0.5)),
  HardSwish: (node) => mul(node.real(), hardSigmoid(node.real(), 1 / 6, 0.5)),
  Swish: (node) => {
    const alpha = node.float("alpha", 1);
    return alpha === 1 ? silu(node.real()) : mul(node.real(), sigmoid(mul(alpha, node.real())));
  },
  Mish: unary((x) => mul(x, tanh(softplus(x)))),
  Tanh: unary(tanh),
  Gelu: (node) => (node.choice("approximate", ["none", "tanh"], "none") === "tanh" ? geluTanh(node.real()) : gelu(node.real())),
  Softplus: unary(softplus),
  Softsign: unary((x) => div(x, add(1, abs(x)))),
  Shrink: (node) => {
    const [x, lambd, bias] = [node.real(), node.float("lambd", 0.5), node.float("bias", 0)];
    return where(less(x, -lambd), add(x, bias), where(greater(x, lambd), sub(x, bias), 0));
  },
  Clip: clip,
  Cast: (node) => castTo(node, node.int("to", 0)),
  CastLike: (node) => cast(node.x(0), node.x(1).dtype),
  Identity: (node) => node.x(),
  // At inference nothing is dropped.
  Dropout: (node) => {
    if (node.optional(2) && node.scalar(2) !== 0) throw node.unsupported("training mode");
    return [node.x(), expand(filled(1, [], "bool"), node.x().shape)];
  },
  Equal: compare(equal),
  Greater: compare(greater),
  GreaterOrEqual: compare(greaterEqual),
  Less: compare(less),
  LessOrEqual: compare(lessEqual),
  And: logic(logicalAnd),
  Or: logic(logicalOr),
  Xor: logic((a, b) => logicalNot(equal(cast(a, "int32"), cast(b, "int32")))),
  Not: (node) => logicalNot(node.typed(0, "bool")),
  IsNaN: unary((x) => logicalNot(equal(x, x))),
  Where: (node) => {
    const [condition, a, b] = [node.typed(0, "bool"), node.x(1), node.x(2)];
    if (a.dtype !== b.dtype) throw node.error(`expected two branches of one type, got ${a.dtype} and ${b.dtype}`);
    return where(condition, a, b);
  },
};

