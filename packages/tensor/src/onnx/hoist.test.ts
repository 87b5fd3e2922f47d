import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { afterAll, describe, expect, it } from "vitest";
import { onnxBackend, type OnnxRuntime } from "../backends/onnx-backend.ts";
import { referenceBackend } from "../backends/reference-backend.ts";
import { gradients } from "../gradient.ts";
import { conv2d } from "../ops/convolution.ts";
import { input, weight } from "../ops/leaves.ts";
import { sum } from "../ops/reductions.ts";
import { square } from "../ops/elementwise.ts";
import { program } from "../program.ts";
import { normal } from "../random.ts";
import type { WeightSource } from "../tensor.ts";
import { encodeInParts } from "./encode.ts";

const folder = mkdtempSync(join(tmpdir(), "hoist-"));
afterAll(() => rmSync(folder, { recursive: true }));
const shape = [3, 2, 3, 3];
const half = Uint16Array.from({ length: 54 }, (_, i) => 0x3c00 + 7 * i);
const widened = Float64Array.from(half, (bits) => 2 ** ((bits >> 10) - 15) * (1 + (bits & 1023) / 1024));
writeFileSync(join(folder, "weights"), new Uint8Array(half.buffer));
const kernel = weight({ key: "kernel", file: join(folder, "weights"), offset: 0, sizeBytes: 108, dtype: "F16", shape } satisfies WeightSource);
const x = input("x", [1, 2, 5, 5]);
// The same kernel forwards and backwards, twice.
const inner = conv2d(x, kernel, { padding: 1 });
const loss = sum(square(inner));
const slope = gradients(loss, [x])[0]!;
const traced = program({ loss, slope, curvature: gradients(sum(square(slope)), [x])[0]! });

describe("what is the same in every run", () => {
  it("is computed apart, equal forms once: a half-precision kernel is widened once and turned once", () => {
    const { preparation, finish } = encodeInParts(traced, { provider: "cpu", convInputGradient: "flip" });
    expect(preparation!.results).toHaveLength(2);
    const { nodes } = finish(new Map(preparation!.results.map((name) => [name, new Float32Array(54)])));
    expect(nodes.filter(({ opType }) => ["Cast", "Transpose", "MatMul"].includes(opType))).toEqual([]);
  });

  it("leaves the numbers as they are", async () => {
    const feeds = { x: Float32Array.from(normal({ seed: 1, stream: "x", indices: [] }, 50)) };
    const exact = await (await referenceBackend(() => widened).compile(traced)).run(feeds);
    const executable = await onnxBackend(ort as unknown as OnnxRuntime).compile(traced);
    const results = await executable.run(feeds);
    await executable.dispose();
    for (const name of ["loss", "slope", "curvature"]) {
      const expected = exact[name]!.data;
      const largest = Array.from(expected).reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      results[name]!.data.forEach((value, i) => expect(Math.abs(value - expected[i]!) / largest).toBeLessThan(1e-6));
    }
  });
});
