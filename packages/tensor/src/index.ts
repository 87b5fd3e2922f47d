export * from "./errors.ts";
export * from "./random.ts";
export * from "./shape.ts";
export * from "./tensor.ts";
export * from "./program.ts";
export * from "./gradient.ts";
export { simplify } from "./simplify.ts";
export { constant, filled, input, weight } from "./ops/leaves.ts";
export {
  abs, add, cast, clamp, cos, div, equal, erf, exp, gelu, greater, greaterEqual, less, lessEqual, log, logicalAnd, logicalNot, logicalOr,
  maximum, minimum, mul, neg, pow, quickGelu, reciprocal, relu, sigmoid, sign, silu, sin, softplus, sqrt, square, stopGradient, sub, tanh, where,
} from "./ops/elementwise.ts";
export { argMax, logSumExp, max, mean, softmax, sum } from "./ops/reductions.ts";
export { concat, expand, flip, pad, reshape, slice, sliceAxis, split, squeeze, transpose, unsqueeze } from "./ops/shaping.ts";
export { matmul } from "./ops/matmul.ts";
export { conv2d, convTranspose2d, upsampleNearest2x, type ConvOptions, type Padding } from "./ops/convolution.ts";
export { groupNorm, layerNorm, standardize } from "./ops/normalization.ts";
export { oneHot, scatterAddRows, take } from "./ops/indexing.ts";
export { attention, type AttentionOptions } from "./ops/attention.ts";
export { resize2d } from "./ops/resize.ts";
export { recompute } from "./ops/segment.ts";
export { encodeProgram, type EncodedProgram, type EncodeOptions } from "./onnx/encode.ts";
export { importOnnx, type ImportOnnxOptions, type OnnxFile, type OnnxModel, type OnnxPort, type OnnxShapes } from "./onnx/import/import-onnx.ts";
export * from "./backends/backend.ts";
export { referenceBackend } from "./backends/reference-backend.ts";
export { onnxBackend, PROVIDER_CURES, runtimeReason, type OnnxBackendOptions, type OnnxRuntime } from "./backends/onnx-backend.ts";
export { describeMemory, type MemoryEstimate } from "./onnx/memory.ts";
export type { Listing } from "./onnx/order.ts";
