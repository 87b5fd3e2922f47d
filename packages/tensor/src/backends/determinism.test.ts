import { describe, expect, it } from "vitest";
import { gradients } from "../gradient.ts";
import { attention } from "../ops/attention.ts";
import { conv2d } from "../ops/convolution.ts";
import { add, mul, silu } from "../ops/elementwise.ts";
import { take } from "../ops/indexing.ts";
import { input } from "../ops/leaves.ts";
import { matmul } from "../ops/matmul.ts";
import { groupNorm } from "../ops/normalization.ts";
import { sum } from "../ops/reductions.ts";
import { reshape, split, transpose } from "../ops/shaping.ts";
import { program } from "../program.ts";
import { normal } from "../random.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { runOnnx } from "../testing/run-program.ts";

const shapes = { x: [4, 16, 24, 24], down: [32, 16, 3, 3], same: [32, 32, 3, 3], gamma: [32], beta: [32], project: [32, 96], table: [50, 32] } as const;
const leaves = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, input(name, shape)]));
const ids = input("ids", [4], "int32");

/** A residual block with group norm, self-attention over its pixels and an embedding, and all gradients. */
function build() {
  const { x, down, same, gamma, beta, project, table } = leaves as Record<keyof typeof shapes, Tensor>;
  const first = conv2d(x, down, { stride: 2, padding: 1 });
  const shifted = add(first, reshape(take(table, ids), [4, 32, 1, 1]));
  const second = add(first, conv2d(silu(groupNorm(shifted, 8, gamma, beta, 1e-5)), same, { padding: 1 }));
  const pixels = transpose(reshape(second, [4, 32, 144]), [0, 2, 1]);
  const [q, k, v] = split(project, 1, 3).map((part) => matmul(pixels, part)) as [Tensor, Tensor, Tensor];
  const y = attention(q, k, v, { heads: 4 });
  const found = gradients(sum(mul(y, y)), Object.values(leaves));
  return program(Object.fromEntries([y, ...found].map((tensor, i) => [`y${i}`, tensor])));
}

const feeds: Record<string, Float32Array | Int32Array> = { ids: Int32Array.of(3, 7, 3, 3) };
for (const [name, shape] of Object.entries(shapes)) {
  feeds[name] = Float32Array.from(normal({ seed: 9, stream: name, indices: [] }, sizeOf(shape)), (v) => v * 0.3);
}

describe("onnxruntime", () => {
  it.each(["fast", "low"] as const)("gives the same bits with one thread, with two, and every time (%s)", async (memory) => {
    const alone = await runOnnx(build(), feeds, { threads: 1 }, { memory });
    for (const threads of [2, 2, 1]) {
      const again = await runOnnx(build(), feeds, { threads }, { memory });
      for (const name of Object.keys(alone)) {
        const [a, b] = [alone[name]!.data, again[name]!.data].map((data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)) as [Buffer, Buffer];
        expect(a.equals(b), `${name} with ${threads} threads`).toBe(true);
      }
    }
  });
});
