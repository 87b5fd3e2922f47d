import { UsageError } from "../errors.ts";
import { sizeOf } from "../shape.ts";
import { apply, type Operator, type Tensor } from "../tensor.ts";
import { add, mul, sub } from "./elementwise.ts";
import { mean } from "./reductions.ts";
import { expand, reshape } from "./shaping.ts";

type StandardizeAttributes = { readonly epsilon: number };

/**
 * (x − mean)/√(variance + epsilon) over the last axis (population variance), with mean and 1/√(…) as further outputs of size 1
 * on that axis: the gradient needs them, and onnxruntime's LayerNormalization gives all three for the price of one.
 */
export const standardizeOperator: Operator<StandardizeAttributes> = {
  name: "standardize",
  infer: ([x]) => {
    if (x!.shape.length < 1 || x!.dtype !== "float32") throw new UsageError("shape-mismatch", `standardize: expected a float32 tensor with an axis, got ${x!.dtype} [${x!.shape}]`);
    const reduced = x!.shape.with(-1, 1);
    return [
      { shape: x!.shape, dtype: "float32" },
      { shape: reduced, dtype: "float32" },
      { shape: reduced, dtype: "float32" },
    ];
  },
  derivative: {
    rule: ({ inputs: [x], outputs, cotangents: [g, gMean, gRate] }) => {
      const [normalized, , rate] = outputs as [Tensor, Tensor, Tensor];
      const parts: Tensor[] = [];
      if (g) parts.push(mul(sub(sub(g, mean(g, -1, true)), mul(normalized, mean(mul(g, normalized), -1, true))), rate));
      const share = 1 / x!.shape.at(-1)!;
      if (gMean) parts.push(expand(mul(gMean, share), x!.shape));
      // d rate/dx = −rate²·normalized/n
      if (gRate) parts.push(mul(normalized, mul(mul(gRate, -share), mul(rate, rate))));
      return [parts.length === 0 ? undefined : parts.reduce((a, b) => add(a, b))];
    },
  },
  onnx: (emit, { inputs: [x], inputTypes, attributes: { epsilon } }) => {
    const ones = emit.floats(new Float64Array(inputTypes[0]!.shape.at(-1)!).fill(1));
    return emit.node("LayerNormalization", [x!, ones], { axis: -1, epsilon: { float: epsilon } }, { outputCount: 3 });
  },
  reference: ([x], { epsilon }) => {
    const width = x!.shape.at(-1)!;
    const rows = sizeOf(x!.shape) / width;
    const [normalized, means, rates] = [new Float64Array(x!.data.length), new Float64Array(rows), new Float64Array(rows)];
    for (let row = 0; row < rows; row++) {
      const values = x!.data.subarray(row * width, (row + 1) * width);
      const center = values.reduce((total, v) => total + v, 0) / width;
      const variance = values.reduce((total, v) => total + (v - center) ** 2, 0) / width;
      const rate = 1 / Math.sqrt(variance + epsilon);
      means[row] = center;
      rates[row] = rate;
      for (let j = 0; j < width; j++) normalized[row * width + j] = (values[j]! - center) * rate;
    }
    return [normalized, means, rates];
  },
};

/** (x − mean)/√(variance + epsilon) over the last axis. */
export const standardize = (x: Tensor, epsilon: number): Tensor => apply(standardizeOperator, [x], { epsilon })[0]!;

/** Layer normalisation over the last axis, with gamma and beta of that size. */
export function layerNorm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: number): Tensor {
  return add(mul(standardize(x, epsilon), gamma), beta);
}

/** Group normalisation of x [B,C,…] in `groups` groups of channels, with gamma and beta [C]. */
export function groupNorm(x: Tensor, groups: number, gamma: Tensor, beta: Tensor, epsilon: number): Tensor {
  const [batch, channels] = x.shape as [number, number];
  if (channels % groups !== 0) throw new UsageError("shape-mismatch", `groupNorm: expected channels divisible by ${groups} groups, got ${channels}`);
  const affineShape = [channels, ...x.shape.slice(2).map(() => 1)];
  const normalized = reshape(standardize(reshape(x, [batch, groups, -1]), epsilon), x.shape);
  return add(mul(normalized, reshape(gamma, affineShape)), reshape(beta, affineShape));
}
