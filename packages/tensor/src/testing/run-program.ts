import * as ort from "onnxruntime-node";
import type { CompileOptions, HostData, HostTensor } from "../backends/backend.ts";
import { onnxBackend, type OnnxBackendOptions, type OnnxRuntime } from "../backends/onnx-backend.ts";
import { referenceBackend } from "../backends/reference-backend.ts";
import { encodeProgram, type EncodeOptions } from "../onnx/encode.ts";
import type { Program } from "../program.ts";
import type { DType, Shape } from "../shape.ts";
import { InternalError } from "../errors.ts";

export const runtime: OnnxRuntime = ort as unknown as OnnxRuntime;

/** Float64 results of a program without weights. */
export async function runReference(traced: Program, inputs: Readonly<Record<string, HostData>>): Promise<Record<string, HostTensor>> {
  const backend = referenceBackend(() => {
    throw new InternalError("this program has no weights");
  });
  return (await backend.compile(traced)).run(inputs);
}

const RUNTIME_DATA: Readonly<Record<DType, (values: ArrayLike<number>) => Float32Array | Int32Array | Uint8Array>> = {
  float32: (values) => Float32Array.from(values),
  int32: (values) => Int32Array.from(values),
  bool: (values) => Uint8Array.from(values),
};

/** What onnxruntime returned, with the shape that it says. */
export interface RuntimeTensor {
  readonly shape: Shape;
  readonly data: ArrayLike<number>;
}

/** Runs an encoded program on the CPU, whatever provider it was written for, without any of onnxruntime's rewrites. */
export async function runEncoded(
  traced: Program,
  inputs: Readonly<Record<string, ArrayLike<number>>>,
  options: Pick<EncodeOptions, "provider" | "convInputGradient">,
): Promise<{ readonly model: Uint8Array; readonly outputs: Readonly<Record<string, RuntimeTensor>> }> {
  const { model } = encodeProgram(traced, options);
  const session = await ort.InferenceSession.create(model, { executionProviders: ["cpu"], intraOpNumThreads: 1, graphOptimizationLevel: "disabled", logSeverityLevel: 3 });
  const feeds: Record<string, ort.Tensor> = {};
  for (const { name, tensor } of traced.inputs) {
    const data = RUNTIME_DATA[tensor.dtype](inputs[name]!);
    feeds[name] = new ort.Tensor(tensor.dtype, data as Float32Array, [...tensor.shape]);
  }
  const results = await session.run(feeds);
  await session.release();
  const outputs = Object.fromEntries(
    traced.outputs.map(({ name }) => {
      const { dims, data } = results[`out:${name}`]!;
      return [name, { shape: dims, data: data as Float32Array }];
    }),
  );
  return { model, outputs };
}

/** Float32 results by the onnxruntime backend, as everything else uses it. */
export async function runOnnx(
  traced: Program,
  inputs: Readonly<Record<string, HostTensor | HostData>>,
  options: OnnxBackendOptions = {},
  compileOptions: CompileOptions = {},
): Promise<Record<string, HostTensor>> {
  const executable = await onnxBackend(runtime, options).compile(traced, compileOptions);
  try {
    return await executable.run(inputs);
  } finally {
    await executable.dispose();
  }
}
