import { availableParallelism } from "node:os";
import { type Backend, onnxBackend, type OnnxBackendOptions, referenceBackend } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { readNodeWeight } from "./node-files.ts";
import { workerRuntime } from "./worker-runtime.ts";

/** The backend that does the arithmetic: onnxruntime in float32. `threads` 0 uses all cores. */
export function nodeBackend(options: OnnxBackendOptions = {}): Backend {
  return onnxBackend(ort, { ...options, threads: options.threads || availableParallelism() });
}

/** A backend whose programs run in threads of their own, one core each: several executables work at the same time. */
export function threadBackend(): Backend {
  return onnxBackend(workerRuntime, { threads: 1 });
}

/** The float64 interpreter, reading frozen weights from their files. */
export function oracleBackend(): Backend {
  return referenceBackend((source) => Float64Array.from(readNodeWeight(source)));
}
