import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { gradients } from "../gradient.ts";
import { attention } from "../ops/attention.ts";
import { conv2d } from "../ops/convolution.ts";
import { add, silu } from "../ops/elementwise.ts";
import { input } from "../ops/leaves.ts";
import { matmul } from "../ops/matmul.ts";
import { groupNorm, layerNorm } from "../ops/normalization.ts";
import { mean } from "../ops/reductions.ts";
import { recompute } from "../ops/segment.ts";
import { type Program, program } from "../program.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { encodeProgram } from "./encode.ts";
import { dependenciesOf, executionOrder, type Listing } from "./order.ts";

/** Loss and all gradients of a chain of blocks over x, each with weights of its own. */
function gradientProgram(x: Tensor, count: number, block: (x: Tensor, weights: readonly Tensor[]) => Tensor, shapes: readonly (readonly number[])[], isRecomputed: boolean): Program {
  const weights = Array.from({ length: count }, (_, i) => shapes.map((shape, j) => input(`w${i}.${j}`, shape)));
  const y = weights.reduce((h, own) => (isRecomputed ? recompute((inner) => [block(inner!, own)], [h])[0]! : block(h, own)), x);
  const loss = mean(y);
  const all = weights.flat();
  return program({ loss, ...Object.fromEntries(gradients(loss, all).map((gradient, i) => [`d${i}`, gradient])) });
}

const convolutionBlock = (x: Tensor, [w, gamma, beta]: readonly Tensor[]): Tensor => add(x, conv2d(silu(groupNorm(x, 2, gamma!, beta!, 1e-5)), w!, { padding: 1 }));
const attentionBlock = (x: Tensor, [a, b, gamma, beta]: readonly Tensor[]): Tensor => {
  const q = layerNorm(x, gamma!, beta!, 1e-5);
  return add(x, matmul(matmul(attention(q, q, q, { heads: 2 }), a!), b!));
};

const graphs: Record<string, Program> = {
  convolutions: gradientProgram(input("x", [2, 4, 5, 6]), 3, convolutionBlock, [[4, 4, 3, 3], [4], [4]], false),
  "recomputed convolutions": gradientProgram(input("x", [2, 4, 5, 6]), 3, convolutionBlock, [[4, 4, 3, 3], [4], [4]], true),
  attention: gradientProgram(input("x", [2, 5, 8]), 3, attentionBlock, [[8, 3], [3, 8], [8], [8]], false),
};

/** Names of the nodes in the order in which a real session ran them. */
async function profiledOrder(model: Uint8Array, traced: Program): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), "profile-"));
  const session = await ort.InferenceSession.create(model, {
    graphOptimizationLevel: "disabled",
    intraOpNumThreads: 1,
    enableProfiling: true,
    profileFilePrefix: join(folder, "p"),
  });
  const feeds = traced.inputs.map(({ name, tensor: { shape } }) => [name, new ort.Tensor("float32", new Float32Array(sizeOf(shape)), [...shape])] as const);
  await session.run(Object.fromEntries(feeds));
  session.endProfiling();
  await session.release();
  const events = JSON.parse(readFileSync(join(folder, readdirSync(folder)[0]!), "utf8")) as { readonly cat: string; readonly name: string }[];
  rmSync(folder, { recursive: true });
  return events.flatMap(({ cat, name }) => (cat === "Node" && name.endsWith("_kernel_time") ? [Number(/^n(\d+)_/.exec(name)![1])] : []));
}

describe("the predicted order of execution", () => {
  const listings: Listing[] = ["natural", "leaves-by-depth", "reversed", "by-depth-leaves-by-depth"];
  it.each(Object.keys(graphs).flatMap((name) => listings.map((listing) => ({ name, listing }))))("is that of a real session: $name, $listing", async ({ name, listing }) => {
    const traced = graphs[name]!;
    const { model, nodes } = encodeProgram(traced, { provider: "cpu", convInputGradient: "flip", listing });
    expect(await profiledOrder(model, traced)).toEqual(executionOrder(dependenciesOf(nodes)));
  });
});
