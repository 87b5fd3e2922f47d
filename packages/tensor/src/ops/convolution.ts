import { UsageError } from "../errors.ts";
import { type Shape, sizeOf } from "../shape.ts";
import { apply1, type EncodeContext, type OnnxEmitter, type Operator, type ReferenceArray, type Tensor } from "../tensor.ts";
import { encodeWeightGradient, type WeightGradientAttributes } from "./convolution-weight-gradient.ts";
import { sum } from "./reductions.ts";
import { reshape } from "./shaping.ts";

/** Zeros around an image: top, left, bottom, right. */
export type Padding = readonly [number, number, number, number];

type ConvAttributes = { readonly stride: number; readonly padding: Padding; readonly groups: number };
/** `size` is the height and width of the convolution's input. */
type InputGradientAttributes = ConvAttributes & { readonly size: readonly [number, number] };

/** Sizes of one convolution y = conv(x, w), whichever two of the three are given. */
interface ConvSizes {
  readonly batch: number;
  readonly groups: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly height: number;
  readonly width: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly outHeight: number;
  readonly outWidth: number;
}

function convSizes(x: Shape, w: Shape, y: Shape, groups: number): ConvSizes {
  return {
    batch: x[0]!,
    groups,
    inputs: x[1]! / groups,
    outputs: w[0]! / groups,
    height: x[2]!,
    width: x[3]!,
    kernelHeight: w[2]!,
    kernelWidth: w[3]!,
    outHeight: y[2]!,
    outWidth: y[3]!,
  };
}

function outputSize(size: number, kernel: number, before: number, after: number, stride: number): number {
  return Math.floor((size + before + after - kernel) / stride) + 1;
}

/**
 * Visits every row overlap of the three tensors of a convolution: for fixed batch, channels and kernel position, output row `y0`
 * (columns `from` ≤ j < `to`) meets input row offset `x0` at column j·stride + `shift`.
 */
function forEachRow(
  s: ConvSizes,
  { stride, padding: [top, left] }: { readonly stride: number; readonly padding: Padding },
  visit: (w: number, y0: number, x0: number, shift: number, from: number, to: number) => void,
): void {
  for (let b = 0; b < s.batch; b++) {
    for (let o = 0; o < s.outputs * s.groups; o++) {
      const group = Math.floor(o / s.outputs);
      for (let c = 0; c < s.inputs; c++) {
        const plane = (b * s.inputs * s.groups + group * s.inputs + c) * s.height * s.width;
        for (let ky = 0; ky < s.kernelHeight; ky++) {
          for (let kx = 0; kx < s.kernelWidth; kx++) {
            const w = ((o * s.inputs + c) * s.kernelHeight + ky) * s.kernelWidth + kx;
            const shift = kx - left;
            const from = Math.max(0, Math.ceil(-shift / stride));
            const to = Math.min(s.outWidth, Math.floor((s.width - 1 - shift) / stride) + 1);
            for (let i = 0; i < s.outHeight; i++) {
              const row = i * stride + ky - top;
              if (row < 0 || row >= s.height) continue;
              visit(w, ((b * s.outputs * s.groups + o) * s.outHeight + i) * s.outWidth, plane + row * s.width, shift, from, to);
            }
          }
        }
      }
    }
  }
}

const convDescription = (x: Shape, w: Shape, { stride, padding, groups }: ConvAttributes): string =>
  `x [${x}], weight [${w}], stride ${stride}, padding [${padding}], groups ${groups}`;

/** x [B,C,H,W] * w [O,C/groups,kh,kw] → [B,O,H',W'] (cross-correlation, as every framework's convolution). */
export const conv2dOperator: Operator<ConvAttributes> = {
  name: "conv2d",
  infer: ([x, w], attributes) => {
    const { stride, padding, groups } = attributes;
    const fits = x!.shape.length === 4 && w!.shape.length === 4 && x!.shape[1] === w!.shape[1]! * groups && w!.shape[0]! % groups === 0;
    if (!fits) throw new UsageError("shape-mismatch", `conv2d: expected x [B,C,H,W] and weight [O,C/groups,kh,kw], got ${convDescription(x!.shape, w!.shape, attributes)}`);
    const height = outputSize(x!.shape[2]!, w!.shape[2]!, padding[0], padding[2], stride);
    const width = outputSize(x!.shape[3]!, w!.shape[3]!, padding[1], padding[3], stride);
    if (height < 1 || width < 1) throw new UsageError("shape-mismatch", `conv2d: expected an image at least as large as the kernel, got ${convDescription(x!.shape, w!.shape, attributes)}`);
    return [{ shape: [x!.shape[0]!, w!.shape[0]!, height, width], dtype: "float32" }];
  },
  derivative: {
    rule: ({ inputs: [x, w], cotangents, attributes, needed }) => [
      needed[0] ? convInputGradient(cotangents[0]!, w!, { ...attributes, size: [x!.shape[2]!, x!.shape[3]!] }) : undefined,
      needed[1] ? convWeightGradient(x!, cotangents[0]!, { ...attributes, kernel: [w!.shape[2]!, w!.shape[3]!] }) : undefined,
    ],
  },
  onnx: (emit, { inputs: [x, w], inputTypes, attributes: { stride, padding, groups } }) => {
    const kernel = inputTypes[1]!.shape.slice(2);
    // onnxruntime's WebGPU kernel takes a 1×1 convolution for a matrix product and forgets the padding.
    const isPaddedBefore = emit.provider === "webgpu" && kernel.every((n) => n === 1) && padding.some((n) => n > 0);
    const image = isPaddedBefore ? emit.node("Pad", [x!, emit.ints([0, 0, padding[0], padding[1], 0, 0, padding[2], padding[3]])])[0]! : x!;
    return emit.node("Conv", [image, w!], {
      kernel_shape: { ints: kernel },
      strides: { ints: [stride, stride] },
      pads: { ints: isPaddedBefore ? [0, 0, 0, 0] : padding },
      group: groups,
    });
  },
  reference: ([x, w], attributes, [output]) => {
    const result = new Float64Array(sizeOf(output!.shape));
    forEachRow(convSizes(x!.shape, w!.shape, output!.shape, attributes.groups), attributes, (wi, y0, x0, shift, from, to) => {
      const factor = w!.data[wi]!;
      for (let j = from; j < to; j++) result[y0 + j]! += factor * x!.data[x0 + j * attributes.stride + shift]!;
    });
    return [result];
  },
};

/** Above this many elements a weight that changes every run is not flipped per run: the transposed convolution is cheaper (measured). */
const FLIP_LIMIT = 1_000_000;

/**
 * From this many pixels in the batch on every stride-1 kernel is flipped per run, also a frozen one that cannot be kept flipped: that costs a hundredth of the
 * product, where the transposed convolution takes a fifth more time and nine times the picture's memory (measured at 64×64×320: 78 ms against 105; at 32×32×640
 * 48 against 50; at 16×16×1280 63 against 55).
 */
const FLIP_PIXELS = 1024;

/** A kernel turned by 180°. A product with a reversing permutation is four times as fast as a slice with negative steps (bench/tensor-pieces.ts). */
function flipKernel(emit: OnnxEmitter, w: string, shape: Shape): string {
  const [height, width] = [shape[2]!, shape[3]!];
  const positions = height * width;
  if (positions === 1) return w;
  if (positions > 25) return emit.node("Slice", [w, emit.ints([-1, -1]), emit.ints([-height - 1, -width - 1]), emit.ints([2, 3]), emit.ints([-1, -1])])[0]!;
  const reversal = Float64Array.from({ length: positions ** 2 }, (_, i) => Number(Math.floor(i / positions) + (i % positions) === positions - 1));
  const rows = emit.node("Reshape", [w, emit.ints([shape[0]! * shape[1]!, positions])])[0]!;
  return emit.node("Reshape", [emit.node("MatMul", [rows, emit.floats(reversal, [positions, positions])])[0]!, emit.ints(shape)])[0]!;
}

function encodeFlippedConv(emit: OnnxEmitter, context: EncodeContext<InputGradientAttributes>): readonly string[] {
  const { inputs, inputTypes, outputTypes, attributes } = context;
  const [kernelHeight, kernelWidth] = [inputTypes[1]!.shape[2]!, inputTypes[1]!.shape[3]!];
  const [height, width] = [inputTypes[0]!.shape[2]!, inputTypes[0]!.shape[3]!];
  const [top, left] = [kernelHeight - 1 - attributes.padding[0], kernelWidth - 1 - attributes.padding[1]];
  const { shape } = outputTypes[0]!;
  const bottom = shape[2]! + kernelHeight - 1 - height - top;
  const right = shape[3]! + kernelWidth - 1 - width - left;
  const flipped = flipKernel(emit, inputs[1]!, inputTypes[1]!.shape);
  const swapped = emit.node("Transpose", [flipped], { perm: { ints: [1, 0, 2, 3] } })[0]!;
  return emit.node("Conv", [inputs[0]!, swapped], { kernel_shape: { ints: [kernelHeight, kernelWidth] }, pads: { ints: [top, left, bottom, right] } });
}

/** Gradient of a convolution by its input, which is the transposed convolution: g [B,O,H',W'], w [O,C/groups,kh,kw] → [B,C,H,W]. */
export const convInputGradientOperator: Operator<InputGradientAttributes> = {
  name: "convInputGradient",
  infer: ([g, w], attributes) => {
    const { stride, padding, groups, size } = attributes;
    const fits =
      g!.shape[1] === w!.shape[0] &&
      outputSize(size[0], w!.shape[2]!, padding[0], padding[2], stride) === g!.shape[2] &&
      outputSize(size[1], w!.shape[3]!, padding[1], padding[3], stride) === g!.shape[3];
    if (!fits) throw new UsageError("shape-mismatch", `convTranspose2d: expected a gradient of conv2d from [${size}], got ${convDescription(g!.shape, w!.shape, attributes)}`);
    return [{ shape: [g!.shape[0]!, w!.shape[1]! * groups, size[0], size[1]], dtype: "float32" }];
  },
  derivative: {
    rule: ({ inputs: [g, w], cotangents, attributes: { stride, padding, groups }, needed }) => [
      needed[0] ? apply1(conv2dOperator, [cotangents[0]!, w!], { stride, padding, groups }) : undefined,
      needed[1] ? convWeightGradient(cotangents[0]!, g!, { stride, padding, groups, kernel: [w!.shape[2]!, w!.shape[3]!] }) : undefined,
    ],
  },
  onnx: (emit, context) => {
    const { inputs, inputTypes, attributes, isFixed } = context;
    const { stride, padding, groups, size } = attributes;
    const canFlip = stride === 1 && groups === 1 && padding.every((n, i) => n < inputTypes[1]!.shape[2 + (i % 2)]!);
    const [batch, , rows, columns] = inputTypes[0]!.shape as [number, number, number, number];
    const isLarge = batch * rows * columns >= FLIP_PIXELS;
    const mayFlip = isLarge || (isFixed[1] ? emit.convInputGradient === "flip" : sizeOf(inputTypes[1]!.shape) <= FLIP_LIMIT);
    if (canFlip && mayFlip) return encodeFlippedConv(emit, context);
    const extra = [2, 3].map((axis, i) => {
      const covered = (inputTypes[0]!.shape[axis]! - 1) * stride + inputTypes[1]!.shape[axis]! - padding[i]! - padding[i + 2]!;
      return size[i]! - covered;
    });
    return emit.node("ConvTranspose", inputs, {
      kernel_shape: { ints: inputTypes[1]!.shape.slice(2) },
      strides: { ints: [stride, stride] },
      pads: { ints: padding },
      output_padding: { ints: extra },
      group: groups,
    });
  },
  reference: ([g, w], attributes, [output]) => {
    const result = new Float64Array(sizeOf(output!.shape));
    forEachRow(convSizes(output!.shape, w!.shape, g!.shape, attributes.groups), attributes, (wi, y0, x0, shift, from, to) => {
      const factor = w!.data[wi]!;
      for (let j = from; j < to; j++) result[x0 + j * attributes.stride + shift]! += factor * g!.data[y0 + j]!;
    });
    return [result];
  },
};

/** Gradient of a convolution by its weight: x [B,C,H,W], g [B,O,H',W'] → [O,C/groups,kh,kw]. */
export const convWeightGradientOperator: Operator<WeightGradientAttributes> = {
  name: "convWeightGradient",
  infer: ([x, g], { kernel, groups }) => [{ shape: [g!.shape[1]!, x!.shape[1]! / groups, kernel[0], kernel[1]], dtype: "float32" }],
  derivative: {
    rule: ({ inputs: [x, g], cotangents, attributes: { stride, padding, groups }, needed }) => [
      needed[0] ? convInputGradient(g!, cotangents[0]!, { stride, padding, groups, size: [x!.shape[2]!, x!.shape[3]!] }) : undefined,
      needed[1] ? apply1(conv2dOperator, [x!, cotangents[0]!], { stride, padding, groups }) : undefined,
    ],
  },
  onnx: encodeWeightGradient,
  reference: ([x, g], attributes, [output]) => {
    const result = new Float64Array(sizeOf(output!.shape));
    forEachRow(convSizes(x!.shape, output!.shape, g!.shape, attributes.groups), attributes, (wi, y0, x0, shift, from, to) => {
      let total = 0;
      for (let j = from; j < to; j++) total += g!.data[y0 + j]! * x!.data[x0 + j * attributes.stride + shift]!;
      result[wi]! += total;
    });
    return [result];
  },
};

const convInputGradient = (g: Tensor, w: Tensor, attributes: InputGradientAttributes): Tensor => apply1(convInputGradientOperator, [g, w], attributes);
const convWeightGradient = (x: Tensor, g: Tensor, attributes: WeightGradientAttributes): Tensor => apply1(convWeightGradientOperator, [x, g], attributes);

export interface ConvOptions {
  /** Same step in both directions; default 1. */
  readonly stride?: number;
  /** Zeros on all sides, or [top, left, bottom, right]; default 0. */
  readonly padding?: number | Padding;
  readonly groups?: number;
}

function convAttributes({ stride = 1, padding = 0, groups = 1 }: ConvOptions): ConvAttributes {
  return { stride, groups, padding: typeof padding === "number" ? [padding, padding, padding, padding] : padding };
}

/** Convolution: x [B,C,H,W], w [O,C/groups,kh,kw] → [B,O,H',W'], H' = ⌊(H + top + bottom − kh)/stride⌋ + 1. */
export function conv2d(x: Tensor, w: Tensor, options: ConvOptions = {}): Tensor {
  return apply1(conv2dOperator, [x, w], convAttributes(options));
}

/** Transposed convolution: x [B,I,H,W], w [I,O/groups,kh,kw] → [B,O,(H−1)·stride + kh − pads + outputPadding, …]. */
export function convTranspose2d(x: Tensor, w: Tensor, options: ConvOptions & { readonly outputPadding?: number } = {}): Tensor {
  const attributes = convAttributes(options);
  const size = [2, 3].map((axis, i) => {
    const pads = attributes.padding[i]! + attributes.padding[i + 2]!;
    return (x.shape[axis]! - 1) * attributes.stride + w.shape[axis]! - pads + (options.outputPadding ?? 0);
  });
  return convInputGradient(x, w, { ...attributes, size: [size[0]!, size[1]!] });
}

/** Every pixel doubled in both directions: [B,C,H,W] → [B,C,2H,2W]. */
export const upsampleNearest2xOperator: Operator = {
  name: "upsampleNearest2x",
  infer: ([x]) => {
    if (x!.shape.length !== 4) throw new UsageError("shape-mismatch", `upsampleNearest2x: expected [B,C,H,W], got [${x!.shape}]`);
    return [{ shape: [x!.shape[0]!, x!.shape[1]!, 2 * x!.shape[2]!, 2 * x!.shape[3]!], dtype: "float32" }];
  },
  derivative: {
    rule: ({ inputs: [x], cotangents }) => {
      const [b, c, h, w] = x!.shape as [number, number, number, number];
      return [sum(reshape(cotangents[0]!, [b, c, h, 2, w, 2]), [3, 5])];
    },
  },
  onnx: (emit, { inputs: [x] }) =>
    emit.node("Resize", [x!, "", emit.floats([1, 1, 2, 2])], {
      mode: "nearest",
      coordinate_transformation_mode: "asymmetric",
      nearest_mode: "floor",
    }),
  reference: ([x], _, [output]) => [doubled(x!, output!.shape)],
};

function doubled(x: ReferenceArray, shape: Shape): Float64Array {
  const [height, width] = [shape[2]!, shape[3]!];
  const result = new Float64Array(sizeOf(shape));
  for (let plane = 0; plane < shape[0]! * shape[1]!; plane++) {
    for (let i = 0; i < height; i++) {
      const from = (plane * (height / 2) + (i >> 1)) * (width / 2);
      const to = (plane * height + i) * width;
      for (let j = 0; j < width; j++) result[to + j] = x.data[from + (j >> 1)]!;
    }
  }
  return result;
}

/** Every pixel doubled in both directions: [B,C,H,W] → [B,C,2H,2W]. */
export const upsampleNearest2x = (x: Tensor): Tensor => apply1(upsampleNearest2xOperator, [x]);

