import { readdirSync } from "node:fs";
import { join } from "node:path";

import { type Backend, onnxBackend, referenceBackend } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";

import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { readNodeWeight } from "../platform/node-files.ts";
import { type Tolerance, readCase, readCaseTensors } from "./case-file.ts";
import { judge } from "./judge.ts";
import { type ReplayCaseOptions, replayCase } from "./replay-case.ts";

const root = sharedPath("golden", "diffusion");
const reference = referenceBackend((source) => Float64Array.from(readNodeWeight(source)));
const runtime = onnxBackend(ort, { threads: 2 });

/** Cases of a group, as paths below the root. */
function casesOf(group: string): string[] {
  if (root === undefined) return [];
  const below = group === "lora-export" ? "case" : "";
  return readdirSync(join(root, group), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(group, name, below))
    .sort();
}

/** Every expected tensor that is missing or misses its bar, as text. */
async function failures(name: string, backend: Backend, options: ReplayCaseOptions = {}, override?: (tolerance: Tolerance) => Tolerance): Promise<string[]> {
  const directory = join(root!, name);
  const produced = new Map([...(await replayCase(directory, backend, options))].map(([key, { shape, data }]) => [key, { shape, data: Float64Array.from(data) }]));
  const expected = await readCaseTensors(join(directory, "expected.safetensors"));
  const { tolerance } = await readCase(directory);
  return judge(expected, produced, tolerance, override)
    .filter(({ passed }) => !passed)
    .map(({ name: tensor, error, bar, size, note }) => `${tensor}: ${note ?? `error ${error.toExponential(1)}, bar ${bar.toExponential(1)}, largest ${size.toExponential(1)}`}`);
}

describe("recorded cases on onnxruntime", () => {
  it.skipIf(root === undefined).each(["sample", "rocm", "optimizer", "lora-export"].flatMap(casesOf))("%s is within its tolerance", async (name) => {
    expect(await failures(name, runtime)).toEqual([]);
  });

  it.skipIf(root === undefined)("a case is within its tolerance step by step too", async () => {
    for (const name of ["rocm/tiny-lcm-js-sampled-mean-n4-b2-k4", "rocm/tiny-lcm-fisher-sum-n8-b1-k2-detach"]) {
      expect(await failures(name, runtime, { checkpointing: "step" }), name).toEqual([]);
    }
  });
});

describe("recorded cases in float64", () => {
  const strict = (relative: number) => ({ absolute }: Tolerance): Tolerance => ({ relative, absolute: absolute * 1e-3 });

  it.skipIf(root === undefined).each(["sample/lcm-tiny-lcm-n4-w8-skipping", "lora-export/tiny-lcm/case"])("%s agrees to 1e-11", async (name) => {
    expect(await failures(name, reference, {}, strict(1e-11))).toEqual([]);
  });

  // Gradients leave a step in float32.
  it.skipIf(root === undefined)("a gradient step agrees to 1e-7", async () => {
    for (const name of ["rocm/tiny-lcm-hellinger-sum-n4-b1-k2", "rocm/tiny-lcm-js-sampled-sum-n8-b1-k8"]) {
      expect(await failures(name, reference, { checkpointing: "step" }, strict(1e-7)), name).toEqual([]);
    }
  });
});
