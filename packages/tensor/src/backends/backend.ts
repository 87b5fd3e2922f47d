import { UsageError } from "../errors.ts";
import type { MemoryEstimate } from "../onnx/memory.ts";
import type { Program } from "../program.ts";
import { type DType, sameShape, type Shape, sizeOf } from "../shape.ts";

/** Numbers of a tensor on the host, row-major. The reference backend uses Float64Array for every type. */
export interface HostTensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly data: HostData;
}

export type HostData = Float32Array | Float64Array | Int32Array | Uint8Array;

/** A program made ready to run many times. */
export interface Executable {
  /** Expected need of a run, where the backend can tell; `describeMemory` puts it into words. */
  readonly memory?: MemoryEstimate;
  /** Runs once. Missing, unknown or misshapen inputs are errors; outputs are fresh copies. */
  run(inputs: Readonly<Record<string, HostTensor | HostData>>): Promise<Record<string, HostTensor>>;
  /**
   * Gives back what a run leaves behind for the next one (onnxruntime's arena: the peak of the largest run); the next run takes it again. For large
   * programs that take turns, so that their peaks do not add up. Results do not depend on it.
   */
  rest(): Promise<void>;
  /** Gives memory back; the executable cannot run afterwards. */
  dispose(): Promise<void>;
}

export interface CompileOptions {
  /** `fast` copies and reorders frozen weights (small models); `low` keeps them in their files; default by size (128 MiB). */
  readonly memory?: "fast" | "low";
}

/** Something that can run programs. */
export interface Backend {
  readonly name: string;
  compile(traced: Program, options?: CompileOptions): Promise<Executable>;
}

/** Checks the inputs against the program and gives bare number lists a shape. */
export function bindInputs(traced: Pick<Program, "inputs">, inputs: Readonly<Record<string, HostTensor | HostData>>): Map<string, HostTensor> {
  const known = new Set(traced.inputs.map(({ name }) => name));
  for (const name of Object.keys(inputs)) {
    if (!known.has(name)) throw new UsageError("unknown-input", `run: expected inputs ${[...known].join(", ")}, got "${name}"`);
  }
  return new Map(
    traced.inputs.map(({ name, tensor: { shape, dtype } }) => {
      const given = inputs[name];
      if (given === undefined) throw new UsageError("missing-input", `run: expected input "${name}" ${dtype}[${shape}], got nothing`);
      const value: HostTensor = ArrayBuffer.isView(given) ? { shape, dtype, data: given } : given;
      if (!sameShape(value.shape, shape) || value.dtype !== dtype || value.data.length !== sizeOf(shape)) {
        throw new UsageError("shape-mismatch", `run: expected input "${name}" ${dtype}[${shape}], got ${value.dtype}[${value.shape}] with ${value.data.length} values`);
      }
      return [name, value];
    }),
  );
}
