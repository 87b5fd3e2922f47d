import { availableParallelism } from "node:os";
import { add, type Backend, input, onnxBackend, type OnnxBackendOptions, program, referenceBackend } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { readNodeWeight } from "./node-files.ts";
import { workerRuntime } from "./worker-runtime.ts";

/** The backend that does the arithmetic: onnxruntime in float32. `threads` 0 uses all cores. */
export function nodeBackend(options: OnnxBackendOptions = {}): Backend {
  // What goes wrong is thrown; onnxruntime would print it as well.
  ort.env.logLevel = "fatal";
  return onnxBackend(ort, { ...options, threads: options.threads || availableParallelism() });
}

/**
 * The same, known to start: a graphics card is tried before minutes are spent on a model.
 * @throws UsageError `provider-unavailable` with the cure
 */
export async function openNodeBackend(options: OnnxBackendOptions): Promise<Backend> {
  const backend = nodeBackend(options);
  if (options.provider === undefined || options.provider === "cpu") return backend;
  const tried = await backend.compile(program({ y: add(input("x", [2]), 1) }));
  await tried.run({ x: Float32Array.of(1, 2) });
  await tried.dispose();
  return backend;
}

/** A backend whose programs run in threads of their own, one core each: several executables work at the same time. */
export function threadBackend(): Backend {
  return onnxBackend(workerRuntime, { threads: 1 });
}

/** The float64 interpreter, reading frozen weights from their files. */
export function oracleBackend(): Backend {
  return referenceBackend((source) => Float64Array.from(readNodeWeight(source)));
}
