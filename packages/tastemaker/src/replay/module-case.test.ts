import { readdirSync } from "node:fs";
import { join } from "node:path";

import { type Backend, onnxBackend, referenceBackend } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";

import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { readNodeWeight } from "../platform/node-files.ts";
import { type Tolerance, readCase, readCaseTensors } from "./case-file.ts";
import { judge } from "./judge.ts";
import { replayCase } from "./replay-case.ts";

const root = sharedPath("golden", "diffusion", "modules");
const names = root === undefined ? [] : readdirSync(root).sort();

const reference = referenceBackend((source) => Float64Array.from(readNodeWeight(source)));
const runtime = onnxBackend(ort);

/** Every tensor that misses its bar, as text. */
async function failures(name: string, backend: Backend, override?: (tolerance: Tolerance) => Tolerance): Promise<string[]> {
  const directory = join(root!, name);
  const produced = new Map([...(await replayCase(directory, backend))].map(([key, { shape, data }]) => [key, { shape, data: Float64Array.from(data) }]));
  const expected = await readCaseTensors(join(directory, "expected.safetensors"));
  const { tolerance } = await readCase(directory);
  return judge(expected, produced, tolerance, override)
    .filter(({ passed }) => !passed)
    .map(({ name: tensor, error, bar, size, note }) => `${tensor}: ${note ?? `error ${error.toExponential(1)}, bar ${bar.toExponential(1)}, largest ${size.toExponential(1)}`}`);
}

describe("module cases", () => {
  it.skipIf(root === undefined)("are all there", () => {
    expect(names.length).toBeGreaterThan(30);
  });

  it.skipIf(root === undefined).each(names)("%s agrees to 1e-11 in float64", async (name) => {
    // Gradients that are zero in exact arithmetic keep a floor: 1e-5 of the case's absolute tolerance, which is 1e-11 of its largest gradient.
    const strict = ({ absolute }: Tolerance): Tolerance => ({ relative: 1e-11, absolute: absolute * 1e-5 });
    expect(await failures(name, reference, strict)).toEqual([]);
  });

  it.skipIf(root === undefined).each(names)("%s agrees by onnxruntime within the case's tolerance", async (name) => {
    expect(await failures(name, runtime)).toEqual([]);
  });
});
