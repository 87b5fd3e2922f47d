import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { onnxBackend, type OnnxRuntime } from "../backends/onnx-backend.ts";
import { referenceBackend } from "../backends/reference-backend.ts";
import { gradients } from "../gradient.ts";
import { program } from "../program.ts";
import { normal } from "../random.ts";
import { type Shape, sizeOf } from "../shape.ts";
import { conv2d, type ConvOptions } from "./convolution.ts";
import { input } from "./leaves.ts";

interface Case {
  readonly lowering: string;
  readonly x: Shape;
  readonly w: Shape;
  readonly options: ConvOptions;
}

const cases: Case[] = [
  { lowering: "batched, image of many pixels", x: [2, 4, 18, 17], w: [6, 4, 3, 3], options: { padding: 1 } },
  { lowering: "batched, grouped and strided", x: [2, 4, 6, 7], w: [6, 2, 3, 2], options: { padding: [1, 0, 0, 1], groups: 2, stride: 2 } },
  { lowering: "batched, 1×1", x: [3, 5, 9, 8], w: [4, 5, 1, 1], options: {} },
  { lowering: "batch innermost", x: [3, 4, 5, 6], w: [6, 4, 3, 3], options: { padding: 1 } },
  { lowering: "batch innermost, padding on one side only", x: [3, 4, 6, 6], w: [5, 4, 3, 3], options: { padding: [0, 0, 1, 1], stride: 2 } },
  { lowering: "batch innermost, 1×1 strided", x: [2, 4, 5, 5], w: [5, 4, 1, 1], options: { stride: 2 } },
  { lowering: "batch innermost, gradient shifted", x: [3, 4, 5, 6], w: [3, 4, 3, 3], options: { padding: 1 } },
  { lowering: "batch innermost, gradient shifted, uneven kernel and padding", x: [2, 5, 5, 7], w: [3, 5, 2, 3], options: { padding: [1, 2, 0, 1] } },
  { lowering: "unfolded gradient", x: [2, 6, 5, 7], w: [3, 6, 3, 3], options: { padding: 1 } },
  { lowering: "unfolded gradient, uneven kernel and padding", x: [2, 6, 5, 7], w: [2, 6, 2, 3], options: { padding: [1, 2, 0, 1] } },
  { lowering: "unfolded input", x: [2, 1, 5, 7], w: [4, 1, 3, 3], options: { padding: 1 } },
  { lowering: "unfolded input, strided", x: [2, 1, 6, 7], w: [4, 1, 3, 2], options: { padding: [1, 0, 1, 0], stride: 2 } },
];

describe("the weight gradient of a convolution", () => {
  it.each(cases)("is the float64 reference's: $lowering", async ({ x, w, options }) => {
    const [image, kernel] = [input("x", x), input("w", w)];
    const y = conv2d(image, kernel, options);
    const traced = program({ dw: gradients(y, [kernel], input("g", y.shape))[0]! });
    const draw = (stream: string, shape: Shape): Float32Array => Float32Array.from(normal({ seed: 1, stream, indices: [] }, sizeOf(shape)));
    const feeds = { x: draw("x", x), g: draw("g", y.shape) };
    const exact = await (await referenceBackend(() => new Float64Array()).compile(traced)).run(feeds);
    const executable = await onnxBackend(ort as unknown as OnnxRuntime).compile(traced);
    const { dw } = await executable.run(feeds);
    await executable.dispose();
    expect(dw!.shape).toEqual(w);
    dw!.data.forEach((value, i) => expect(value).toBeCloseTo(exact["dw"]!.data[i]!, 3));
  });
});
