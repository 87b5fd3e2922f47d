import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { onnxBackend, type OnnxRuntime } from "../backends/onnx-backend.ts";
import { referenceBackend } from "../backends/reference-backend.ts";
import { conv2d } from "../ops/convolution.ts";
import { add } from "../ops/elementwise.ts";
import { input } from "../ops/leaves.ts";
import { matmul } from "../ops/matmul.ts";
import { reshape } from "../ops/shaping.ts";
import { type Program, program } from "../program.ts";
import { normal } from "../random.ts";
import { sizeOf } from "../shape.ts";
import { encodeProgram } from "./encode.ts";

const image = input("x", [2, 3, 5, 4]);
const kernel = input("w", [4, 3, 3, 3]);
const rows = input("r", [2, 5, 3]);
const matrix = input("m", [4, 3]);
const bias = input("b", [4]);
const square = input("s", [4, 4]);
const perChannel = reshape(bias, [1, 4, 1, 1]);
const convolution = conv2d(image, kernel, { padding: 1 });

const cases: { readonly what: string; readonly traced: Program; readonly operators: readonly string[] }[] = [
  { what: "a convolution's bias is added inside", traced: program({ y: add(convolution, perChannel) }), operators: ["Conv"] },
  { what: "on either side", traced: program({ y: add(perChannel, convolution) }), operators: ["Conv"] },
  { what: "a linear layer's bias is added inside, with the reshape kept", traced: program({ y: add(matmul(rows, matrix, { transposeB: true }), bias) }), operators: ["Reshape", "Gemm", "Reshape"] },
  { what: "a scaled product's too", traced: program({ y: add(matmul(square, square, { alpha: 0.5, transposeA: true }), bias) }), operators: ["Gemm"] },
  { what: "a convolution that is needed elsewhere is left alone", traced: program({ y: add(convolution, perChannel), z: convolution }), operators: ["Conv", "Reshape", "Add"] },
  { what: "a vector along the wrong axis is left alone", traced: program({ y: add(conv2d(image, kernel, { padding: [1, 1, 1, 1] }), input("c", [4])) }), operators: ["Conv", "Add"] },
  { what: "a sum of a square product and its transposed shape's vector is left alone", traced: program({ y: add(matmul(square, square), reshape(bias, [4, 1])) }), operators: ["Reshape", "MatMul", "Add"] },
];

describe("bias fusion", () => {
  it.each(cases)("$what", async ({ traced, operators }) => {
    const { nodes } = encodeProgram(traced, { provider: "cpu", convInputGradient: "flip" });
    expect(nodes.map(({ opType }) => opType).toSorted()).toEqual(operators.toSorted());
    const feeds = Object.fromEntries(traced.inputs.map(({ name, tensor }) => [name, Float32Array.from(normal({ seed: 3, stream: name, indices: [] }, sizeOf(tensor.shape)))]));
    const exact = await (await referenceBackend(() => new Float64Array()).compile(traced)).run(feeds);
    const executable = await onnxBackend(ort as unknown as OnnxRuntime).compile(traced);
    const results = await executable.run(feeds);
    await executable.dispose();
    for (const { name } of traced.outputs) results[name]!.data.forEach((value, i) => expect(value).toBeCloseTo(exact[name]!.data[i]!, 4));
  });
});
