import { interpretNodes } from "../interpret.ts";
import type { Tensor, WeightSource } from "../tensor.ts";
import { type Backend, bindInputs } from "./backend.ts";

/**
 * The float64 interpreter: every operator by its plain reference loop. Slow; the oracle for every other backend.
 * `readWeight` gives the stored numbers of a frozen weight.
 */
export function referenceBackend(readWeight: (source: WeightSource) => Float64Array): Backend {
  return {
    name: "reference",
    compile: async (traced) => ({
      run: async (inputs) => {
        const bound = bindInputs(traced, inputs);
        const values = new Map<Tensor, Float64Array>(traced.inputs.map(({ name, tensor }) => [tensor, Float64Array.from(bound.get(name)!.data)]));
        interpretNodes(traced.nodes, values, readWeight);
        return Object.fromEntries(
          traced.outputs.map(({ name, tensor }) => [name, { shape: tensor.shape, dtype: tensor.dtype, data: Float64Array.from(values.get(tensor)!) }]),
        );
      },
      rest: async () => {},
      dispose: async () => {},
    }),
  };
}
