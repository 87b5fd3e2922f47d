import { availableParallelism } from "node:os";
import { type Backend, onnxBackend, type OnnxBackendOptions, referenceBackend } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { readNodeWeight } from "./node-files.ts";

/** The backend that does the arithmetic: onnxruntime in float32. `threads` 0 uses all cores. */
export function nodeBackend(options: OnnxBackendOptions = {}): Backend {
  return onnxBackend(ort, { ...options, threads: options.threads || availableParallelism() });
}

/** The float64 interpreter, reading frozen weights from their files. */
export function oracleBackend(): Backend {
  return referenceBackend((source) => Float64Array.from(readNodeWeight(source)));
}
