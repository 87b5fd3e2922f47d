import { type Backend, type HostTensor, type Tensor, input, program } from "@tastemaker/tensor";

import { type CaseTensor, type ReplayedTensor, feed } from "./case-file.ts";

/** Tensors of a run under the names `name.0`, `name.1`, … */
export function listed(name: string, values: readonly Tensor[]): [string, Tensor][] {
  return values.map((value, i) => [`${name}.${i}`, value]);
}

/** An input leaf for a tensor of the case. */
export function leafOf(name: string, { shape, dtype }: CaseTensor): Tensor {
  return input(name, shape, dtype);
}

/** Compiles results as one program, runs it on the case's inputs and lets it go. */
export async function runOnce(outputs: Readonly<Record<string, Tensor>>, inputs: ReadonlyMap<string, CaseTensor>, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const traced = program(outputs);
  const feeds: Record<string, HostTensor> = {};
  for (const { name } of traced.inputs) feeds[name] = feed(inputs.get(name)!);
  const executable = await backend.compile(traced);
  try {
    return new Map(Object.entries(await executable.run(feeds)));
  } finally {
    await executable.dispose();
  }
}
