import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

import { type TensorToStore, encodeSafetensors } from "@tastemaker/diffusion";

import type { CommandContext } from "../cli/command-context.ts";
import type { ReplayOptions } from "../cli/commands/replay.ts";
import { nodeBackend, oracleBackend } from "../platform/runtime.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { type ReplayedTensor, readCase, readCaseTensors } from "./case-file.ts";
import { judge } from "./judge.ts";
import { replayOpenedCase } from "./replay-case.ts";

/** A tensor in the precision it was computed in; truth values and integers as float64. */
function stored({ shape, data }: ReplayedTensor): TensorToStore {
  return data instanceof Float32Array ? { dtype: "F32", shape, data } : { dtype: "F64", shape, data: data instanceof Float64Array ? data : Float64Array.from(data) };
}

/** `tastemaker replay CASE --out FILE`: writes the tensors and, where the case says what it expects, how near they are. */
export async function runReplay(options: ReplayOptions, { output }: CommandContext): Promise<void> {
  const kase = await readCase(resolve(options.caseFolder));
  const backend = options.backend === "reference" ? oracleBackend() : nodeBackend({ threads: options.threads });
  // Read first: a broken case should not leave half an answer behind.
  const expectedPath = join(kase.directory, "expected.safetensors");
  const expected = existsSync(expectedPath) ? await readCaseTensors(expectedPath) : undefined;
  const produced = await replayOpenedCase(kase, backend);
  await writeFileAtomic(resolve(options.out), encodeSafetensors(new Map([...produced].map(([name, tensor]) => [name, stored(tensor)])), new Map([["case", kase.name]])));
  output.print(`${kase.name}: ${produced.size} tensors in ${options.out} (${backend.name})`);

  if (expected === undefined) {
    output.result({ case: kase.name, out: resolve(options.out), tensors: produced.size });
    return;
  }
  const numbers = new Map([...produced].map(([name, { shape, data }]) => [name, { shape, data: Float64Array.from(data) }]));
  const verdicts = judge(expected, numbers, kase.tolerance);
  const missed = verdicts.filter(({ passed }) => !passed);
  for (const { name, note, error, bar } of missed) output.print(`  ${name}: ${note ?? `error ${error.toExponential(1)} above the bar ${bar.toExponential(1)}`}`);
  output.print(missed.length === 0 ? `all ${verdicts.length} expected tensors are within the case's tolerance` : `${missed.length} of ${verdicts.length} expected tensors are outside the case's tolerance`);
  output.result({ case: kase.name, out: resolve(options.out), tensors: produced.size, expected: verdicts.length, outside: missed.map(({ name }) => name) });
}
