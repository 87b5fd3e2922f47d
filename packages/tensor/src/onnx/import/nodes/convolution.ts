import { add } from "../../../ops/elementwise.ts";
import { conv2d, convInputGradientOperator } from "../../../ops/convolution.ts";
import { pad, reshape, slice } from "../../../ops/shaping.ts";
import { apply1, type Tensor } from "../../../tensor.ts";
import type { NodeContext, NodeMapping } from "../node-context.ts";
import { stridedAxis } from "./helpers.ts";
import { paddingOf, perAxis } from "./windows.ts";

/** A kernel with `dilation − 1` zeros between its elements. */
function dilated(w: Tensor, dilations: readonly number[]): Tensor {
  return dilations.reduce((kernel, dilation, i) => {
    const axis = i + 2;
    const size = kernel.shape[axis]!;
    if (dilation === 1 || size === 1) return kernel;
    const apart = reshape(kernel, kernel.shape.toSpliced(axis, 1, size, 1));
    const none = apart.shape.map(() => 0);
    const spread = reshape(pad(apart, none, none.with(axis + 1, dilation - 1)), kernel.shape.with(axis, size * dilation));
    return slice(spread, spread.shape.map(() => 0), spread.shape.with(axis, (size - 1) * dilation + 1));
  }, w);
}

/** With an axis of size 1 before the last, so that a signal is a picture of one row. */
const asPicture = (x: Tensor): Tensor => reshape(x, x.shape.toSpliced(2, 0, 1));

interface Convolution {
  readonly x: Tensor;
  readonly w: Tensor;
  readonly strides: readonly number[];
  readonly padding: readonly (readonly [number, number])[];
  readonly groups: number;
  /** Removes the axis that was added to a signal. */
  readonly finish: (y: Tensor) => Tensor;
}

/** What both kinds of convolution have in common, brought to two dimensions. */
function prepare(node: NodeContext, isTransposed: boolean): Convolution {
  const [x, raw] = [node.ranked(0, 3, 4), node.real(1)];
  if (raw.shape.length !== x.shape.length) throw node.error(`expected a kernel with ${x.shape.length} axes, got [${raw.shape}]`);
  const rank = x.shape.length - 2;
  const declared = node.ints("kernel_shape");
  const kernels = raw.shape.slice(2);
  if (declared && (declared.length !== rank || declared.some((n, i) => n !== kernels[i]))) throw node.error(`expected a kernel of [${declared}], got [${kernels}]`);
  if (kernels.some((n) => n < 1)) throw node.error(`expected a kernel with elements, got [${raw.shape}]`);
  const [strides, dilations] = [perAxis(node, "strides", rank, 1), perAxis(node, "dilations", rank, 1)];
  const groups = node.int("group", 1);
  if (!(groups >= 1) || raw.shape[0]! % groups !== 0 || (isTransposed ? raw.shape[0] : raw.shape[1]! * groups) !== x.shape[1]) {
    throw node.error(`expected ${groups} groups that divide the channels of x [${x.shape}] and kernel [${raw.shape}]`);
  }
  if (isTransposed && node.choice("auto_pad", ["NOTSET", "VALID"], "NOTSET") === "VALID" && node.ints("pads")) throw node.error("expected pads or auto_pad, got both");
  const padding = paddingOf(node, x.shape.slice(2), kernels, strides, dilations);
  const w = dilated(raw, dilations);
  if (rank === 2) return { x, w, strides, padding, groups, finish: (y) => y };
  return {
    x: asPicture(x),
    w: asPicture(w),
    // Any step does in an axis of one position; the same as along the signal needs no further slice.
    strides: [strides[0]!, strides[0]!],
    padding: [[0, 0], padding[0]!],
    groups,
    finish: (y) => reshape(y, y.shape.toSpliced(2, 1)),
  };
}

function withBias(node: NodeContext, y: Tensor): Tensor {
  if (node.optional(2) === undefined) return y;
  const bias = node.ranked(2, 1);
  if (bias.shape[0] !== y.shape[1]) throw node.error(`expected ${y.shape[1]} biases, got [${bias.shape}]`);
  return add(y, reshape(bias, [1, bias.shape[0]!, ...y.shape.slice(2).map(() => 1)]));
}

function convolution(node: NodeContext): Tensor {
  const { x, w, strides, padding: [[top, bottom], [left, right]], groups, finish } = prepare(node, false) as Convolution & { readonly padding: readonly [readonly [number, number], readonly [number, number]] };
  // Unequal steps: each position in the direction with a step of its own, then every n-th.
  const stride = strides[0] === strides[1] ? strides[0]! : 1;
  const y = conv2d(x, w, { stride, groups, padding: [top, left, bottom, right] });
  const kept = strides[0] === strides[1] ? y : strides.reduce((z, step, i) => stridedAxis(z, i + 2, 0, Math.floor((z.shape[i + 2]! - 1) / step) + 1, step), y);
  return withBias(node, finish(kept));
}

function transposedConvolution(node: NodeContext): Tensor {
  const prepared = prepare(node, true);
  const { x, w, strides, padding, groups, finish } = prepared;
  const isSignal = node.real(0).shape.length === 3;
  if (strides[0] !== strides[1]) throw node.unsupported(`unequal strides [${strides}]`);
  const extra = node.ints("output_padding") ?? node.real(0).shape.slice(2).map(() => 0);
  const wanted = node.ints("output_shape");
  if (wanted) throw node.unsupported("output_shape");
  if (extra.length !== x.shape.length - (isSignal ? 3 : 2)) throw node.error(`expected output_padding per axis, got [${extra}]`);
  const extras = isSignal ? [0, extra[0]!] : extra;
  const stride = strides[0]!;
  const size = [0, 1].map((i) => (x.shape[i + 2]! - 1) * stride + w.shape[i + 2]! - padding[i]![0] - padding[i]![1] + extras[i]!);
  if (size.some((n) => !(n >= 1)) || extras.some((n) => !(n >= 0 && n < stride))) throw node.error(`expected an output with elements and output_padding below the stride ${stride}, got [${size}] and [${extras}]`);
  const attributes = { stride, groups, padding: [padding[0]![0], padding[1]![0], padding[0]![1], padding[1]![1]], size };
  return withBias(node, finish(apply1(convInputGradientOperator, [x, w], attributes)));
}

export const convolutionNodes: Readonly<Record<string, NodeMapping>> = {
  Conv: convolution,
  ConvTranspose: transposedConvolution,
};
