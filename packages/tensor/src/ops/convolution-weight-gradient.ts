import type { EncodeContext, OnnxEmitter } from "../tensor.ts";

export type WeightGradientAttributes = {
  readonly stride: number;
  /** Zeros around the convolution's input: top, left, bottom, right. */
  readonly padding: readonly [number, number, number, number];
  readonly groups: number;
  /** Height and width of the kernel. */
  readonly kernel: readonly [number, number];
};

type Context = EncodeContext<WeightGradientAttributes>;

/** Batch, channels (in, out) and sizes of x [B,C,H,W] and g [B,O,h,w]. */
interface Sizes {
  readonly batch: number;
  readonly channels: number;
  readonly outputs: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
}

function sizesOf({ inputTypes: [x, g] }: Context): Sizes {
  const [batch, channels, height, width] = x!.shape as [number, number, number, number];
  const [, outputs, outHeight, outWidth] = g!.shape as [number, number, number, number];
  return { batch, channels, outputs, height, width, outHeight, outWidth };
}

/** a·bᵀ over the last two of `rank` axes. */
function productWithTransposed(emit: OnnxEmitter, a: string, b: string, rank: number): string {
  if (emit.provider !== "webgpu") return emit.node("FusedMatMul", [a, b], { transB: 1 }, { domain: "com.microsoft" })[0]!;
  const perm = Array.from({ length: rank }, (_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i));
  return emit.node("MatMul", [a, emit.node("Transpose", [b], { perm: { ints: perm } })[0]!])[0]!;
}

function padImage(emit: OnnxEmitter, x: string, [top, left, bottom, right]: readonly number[]): string {
  const widths = [0, 0, top!, left!, 0, 0, bottom!, right!];
  return widths.every((n) => n === 0) ? x : emit.node("Pad", [x, emit.ints(widths)])[0]!;
}

const kernelPositions = ([height, width]: readonly [number, number]): [number, number][] =>
  Array.from({ length: height * width }, (_, i) => [Math.floor(i / width), i % width]);

/** The `size` elements from `start` on, `stride` apart, on two axes. */
function cutImage(emit: OnnxEmitter, x: string, start: readonly number[], size: readonly number[], axes: readonly number[], stride = 1): string {
  const ends = start.map((from, i) => from + (size[i]! - 1) * stride + 1);
  return emit.node("Slice", [x, emit.ints(start), emit.ints(ends), emit.ints(axes), emit.ints([stride, stride])])[0]!;
}

/** One [O,C] (or [G,O/G,C/G]) product per kernel position → [O,C/G,kh,kw]. */
function joinPositions(emit: OnnxEmitter, parts: readonly string[], context: Context): readonly string[] {
  const { shape } = context.outputTypes[0]!;
  const flat = parts.map((part) => emit.node("Reshape", [part, emit.ints([shape[0]!, shape[1]!, 1])])[0]!);
  const joined = flat.length === 1 ? flat[0]! : emit.node("Concat", flat, { axis: 2 })[0]!;
  return emit.node("Reshape", [joined, emit.ints(shape)]);
}

/** Σ_b g_b·shift(x_b)ᵀ: one batched product per kernel position, summed over the batch. */
function encodeBatched(emit: OnnxEmitter, context: Context): readonly string[] {
  const { inputs, attributes } = context;
  const { batch, channels, outputs, outHeight, outWidth } = sizesOf(context);
  const { groups, stride, kernel } = attributes;
  const padded = padImage(emit, inputs[0]!, attributes.padding);
  const rows = emit.node("Reshape", [inputs[1]!, emit.ints([batch, groups, outputs / groups, outHeight * outWidth])])[0]!;
  const parts = kernelPositions(kernel).map((position) => {
    const isWhole = stride === 1 && kernel[0] * kernel[1] === 1;
    const shifted = isWhole ? padded : cutImage(emit, padded, position, [outHeight, outWidth], [2, 3], stride);
    const columns = emit.node("Reshape", [shifted, emit.ints([batch, groups, channels / groups, outHeight * outWidth])])[0]!;
    const products = productWithTransposed(emit, rows, columns, 4);
    return batch === 1 ? products : emit.node("ReduceSum", [products, emit.ints([0])], { keepdims: 0 })[0]!;
  });
  return joinPositions(emit, parts, context);
}

/** Axes [B,C,H,W] → [C,H,W,B]. */
const MOVE_BATCH = { perm: { ints: [1, 2, 3, 0] } };

/** x [B,C,H,W] as [C,H',W',B] with zeros around; padding after the move copies longer runs. */
function moveAndPad(emit: OnnxEmitter, x: string, [top, left, bottom, right]: readonly number[]): string {
  const moved = emit.node("Transpose", [x], MOVE_BATCH)[0]!;
  const widths = [0, top!, left!, 0, 0, bottom!, right!, 0];
  return widths.every((n) => n === 0) ? moved : emit.node("Pad", [moved, emit.ints(widths)])[0]!;
}

/** g·shift(x)ᵀ with pixels and batch as one inner axis (layout [C,H,W,B]): one large product per kernel position, no sum. */
function encodeBatchInnermost(emit: OnnxEmitter, context: Context): readonly string[] {
  const { inputs, attributes } = context;
  const { batch, channels, outputs, outHeight, outWidth } = sizesOf(context);
  const length = batch * outHeight * outWidth;
  const x = moveAndPad(emit, inputs[0]!, attributes.padding);
  const rows = emit.node("Reshape", [emit.node("Transpose", [inputs[1]!], MOVE_BATCH)[0]!, emit.ints([outputs, length])])[0]!;
  const parts = kernelPositions(attributes.kernel).map((position) => {
    const shifted = cutImage(emit, x, position, [outHeight, outWidth], [1, 2], attributes.stride);
    return productWithTransposed(emit, rows, emit.node("Reshape", [shifted, emit.ints([channels, length])])[0]!, 2);
  });
  return joinPositions(emit, parts, context);
}

/** Zeros around the gradient when it is shifted instead of the input (stride 1). */
const gradientPadding = ({ padding, kernel }: WeightGradientAttributes): number[] => padding.map((n, i) => kernel[i % 2]! - 1 - n);

/** As `encodeBatchInnermost` for stride 1, the narrower gradient shifted: dW[o,c,k] = Σ_q g[q − k + padding]·x[q]. */
function encodeShiftedGradient(emit: OnnxEmitter, context: Context): readonly string[] {
  const { inputs, attributes } = context;
  const { batch, channels, outputs, height, width } = sizesOf(context);
  const length = batch * height * width;
  const g = moveAndPad(emit, inputs[1]!, gradientPadding(attributes));
  const columns = emit.node("Reshape", [emit.node("Transpose", [inputs[0]!], MOVE_BATCH)[0]!, emit.ints([channels, length])])[0]!;
  const [lastRow, lastColumn] = [attributes.kernel[0] - 1, attributes.kernel[1] - 1];
  const parts = kernelPositions(attributes.kernel).map(([ky, kx]) => {
    const shifted = cutImage(emit, g, [lastRow - ky, lastColumn - kx], [height, width], [1, 2]);
    return productWithTransposed(emit, emit.node("Reshape", [shifted, emit.ints([outputs, length])])[0]!, columns, 2);
  });
  return joinPositions(emit, parts, context);
}

/** All shifted copies of a narrow image side by side, one batched product with the wide one: [B,kh·kw·N,hw]·[B,M,hw]ᵀ → [kh·kw·N,M]. */
function unfoldedProduct(emit: OnnxEmitter, copies: readonly string[], wide: string, narrowRows: number, wideRows: number, { batch }: Sizes, pixels: number): string {
  const rows = emit.node("Reshape", [emit.node("Concat", copies, { axis: 1 })[0]!, emit.ints([batch, copies.length * narrowRows, pixels])])[0]!;
  const columns = emit.node("Reshape", [wide, emit.ints([batch, wideRows, pixels])])[0]!;
  return emit.node("ReduceSum", [productWithTransposed(emit, rows, columns, 3), emit.ints([0])], { keepdims: 0 })[0]!;
}

function encodeUnfoldedInput(emit: OnnxEmitter, context: Context): readonly string[] {
  const { inputs, attributes } = context;
  const sizes = sizesOf(context);
  const { channels, outputs, outHeight, outWidth } = sizes;
  const padded = padImage(emit, inputs[0]!, attributes.padding);
  const copies = kernelPositions(attributes.kernel).map((position) => cutImage(emit, padded, position, [outHeight, outWidth], [2, 3], attributes.stride));
  const product = unfoldedProduct(emit, copies, inputs[1]!, channels, outputs, sizes, outHeight * outWidth);
  const split = emit.node("Reshape", [product, emit.ints([copies.length, channels, outputs])])[0]!;
  return emit.node("Reshape", [emit.node("Transpose", [split], { perm: { ints: [2, 1, 0] } })[0]!, emit.ints(context.outputTypes[0]!.shape)]);
}

/** Stride 1: the narrow gradient is shifted and unfolded instead of the input. */
function encodeUnfoldedGradient(emit: OnnxEmitter, context: Context): readonly string[] {
  const { inputs, attributes } = context;
  const sizes = sizesOf(context);
  const { channels, outputs, height, width } = sizes;
  const [kernelHeight, kernelWidth] = attributes.kernel;
  const padded = padImage(emit, inputs[1]!, gradientPadding(attributes));
  const copies = kernelPositions(attributes.kernel).map(([ky, kx]) =>
    cutImage(emit, padded, [kernelHeight - 1 - ky, kernelWidth - 1 - kx], [height, width], [2, 3]),
  );
  const product = unfoldedProduct(emit, copies, inputs[0]!, outputs, channels, sizes, height * width);
  const split = emit.node("Reshape", [product, emit.ints([copies.length, outputs, channels])])[0]!;
  return emit.node("Reshape", [emit.node("Transpose", [split], { perm: { ints: [1, 2, 0] } })[0]!, emit.ints(context.outputTypes[0]!.shape)]);
}

/** Up to this many output pixels the batch goes innermost. */
const SMALL_IMAGE = 256;
/** The same for 1×1 kernels, which save no copies by it. */
const SMALL_POINTWISE_IMAGE = 64;
/** Images of up to this many channels are unfolded. */
const NARROW = 16;

/**
 * Chooses among equal lowerings by shape; the bounds are where the measured times cross (bench/tensor-conv-weight-gradient.ts).
 * A convolution with the roles exchanged was slower everywhere.
 */
export function encodeWeightGradient(emit: OnnxEmitter, context: Context): readonly string[] {
  const { stride, kernel, groups, padding } = context.attributes;
  const { channels, outputs, outHeight, outWidth } = sizesOf(context);
  const pixels = outHeight * outWidth;
  if (groups > 1) return encodeBatched(emit, context);
  if (kernel[0] * kernel[1] === 1) return stride > 1 || pixels <= SMALL_POINTWISE_IMAGE ? encodeBatchInnermost(emit, context) : encodeBatched(emit, context);
  const canShiftGradient = stride === 1 && padding.every((n, i) => n < kernel[i % 2]!);
  if (canShiftGradient && outputs <= NARROW && 2 * outputs <= channels) return encodeUnfoldedGradient(emit, context);
  if (channels <= NARROW && 4 * channels <= outputs) return encodeUnfoldedInput(emit, context);
  if (stride === 1 && pixels > SMALL_IMAGE) return encodeBatched(emit, context);
  return canShiftGradient && outputs < channels ? encodeShiftedGradient(emit, context) : encodeBatchInnermost(emit, context);
}
