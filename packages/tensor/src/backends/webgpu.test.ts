import { describe, expect, it } from "vitest";
import { attention } from "../ops/attention.ts";
import { gradients } from "../gradient.ts";
import { input } from "../ops/leaves.ts";
import { sum } from "../ops/reductions.ts";
import { mul } from "../ops/elementwise.ts";
import { program } from "../program.ts";
import { normal } from "../random.ts";
import { type DType, sizeOf } from "../shape.ts";
import { difference } from "../testing/difference.ts";
import { sampleRow, wholeProgram } from "../testing/operator-program.ts";
import { operatorTable } from "../testing/operator-table.ts";
import { runOnnx, runReference } from "../testing/run-program.ts";
import { webgpuProblem } from "../testing/webgpu.ts";
import type { HostData } from "./backend.ts";

const problem = await webgpuProblem();
const title = problem === undefined ? "on a WebGPU adapter" : `on a WebGPU adapter (skipped: ${problem})`;

const asFed = (dtype: DType, values: Float64Array): HostData => (dtype === "float32" ? Float32Array.from(values) : dtype === "int32" ? Int32Array.from(values) : Uint8Array.from(values));

describe.skipIf(problem !== undefined)(title, () => {
  const rows = operatorTable.map((row) => ({ name: `${row.operator.name}: ${row.title}`, row }));

  it.each(rows)("an operator gives values and gradients of the float64 reference: $name", async ({ row }) => {
    const traced = wholeProgram(row);
    const inputs = sampleRow(row);
    const exact = await runReference(traced, inputs);
    const fed = Object.fromEntries(traced.inputs.map(({ name, tensor }) => [name, asFed(tensor.dtype, inputs[name]!)]));
    const found = await runOnnx(traced, fed, { provider: "webgpu" });
    for (const { name } of traced.outputs) expect(difference(found[name]!.data, exact[name]!.data), name).toBeLessThan(1e-5);
  });

  // From some size on onnxruntime's own attention takes another path, which is wrong on some adapters.
  it.each([
    [1, 64, 64, 96, 4, false],
    [2, 64, 20, 96, 4, false],
    [1, 77, 77, 64, 2, true],
    [1, 300, 77, 320, 8, false],
  ] as const)("attention of %i × %i queries, %i keys, width %i, %i heads (causal: %s) equals the CPU's, and so do its gradients", async (batch, queries, keys, width, heads, causal) => {
    const [q, k, v, g] = [input("q", [batch, queries, width]), input("k", [batch, keys, width]), input("v", [batch, keys, width]), input("g", [batch, queries, width])];
    const y = attention(q, k, v, { heads, causal });
    const slopes = gradients(sum(mul(y, g)), [q, k, v]);
    const traced = program({ y, dq: slopes[0]!, dk: slopes[1]!, dv: slopes[2]! });
    const fed = Object.fromEntries(traced.inputs.map(({ name, tensor: { shape } }) => [name, Float32Array.from(normal({ seed: 1, stream: name, indices: [] }, sizeOf(shape)))]));
    const [cpu, gpu] = [await runOnnx(traced, fed), await runOnnx(traced, fed, { provider: "webgpu" })];
    for (const { name } of traced.outputs) expect(difference(gpu[name]!.data, cpu[name]!.data), name).toBeLessThan(2e-5);
  });
});
