import { describe, expect, it } from "vitest";
import { gradients } from "../gradient.ts";
import { encodeProgram } from "../onnx/encode.ts";
import { type Program, program } from "../program.ts";
import { normal } from "../random.ts";
import { simplify } from "../simplify.ts";
import type { Tensor } from "../tensor.ts";
import { difference } from "../testing/difference.ts";
import { onnxNodeTypes } from "../testing/onnx-node-types.ts";
import { runOnnx, runReference } from "../testing/run-program.ts";
import { attention } from "./attention.ts";
import { add, exp, gelu, mul, silu, tanh } from "./elementwise.ts";
import { take } from "./indexing.ts";
import { constant, input } from "./leaves.ts";
import { matmul } from "./matmul.ts";
import { layerNorm } from "./normalization.ts";
import { sum } from "./reductions.ts";
import { recompute } from "./segment.ts";
import { split } from "./shaping.ts";

type Wrap = (fn: (...xs: Tensor[]) => readonly Tensor[], xs: readonly Tensor[]) => readonly Tensor[];
const plain: Wrap = (fn, xs) => fn(...xs);

const [x, w, gamma, table, ids] = [input("x", [2, 5, 4]), input("w", [4, 4]), input("gamma", [4]), input("table", [7, 4]), input("ids", [2, 5], "int32")];
const shift = constant([0.1, -0.2, 0.3, 0.4], [4]);

/** Attention with a residual: two outputs, one of them an input passed on, and leaves of outside (w, gamma). */
const block = (h: Tensor, embedded: Tensor): readonly Tensor[] => {
  const q = matmul(layerNorm(h, gamma, shift, 1e-5), w);
  return [add(h, attention(q, silu(q), add(q, embedded), { heads: 2 })), embedded, gelu(q)];
};

/** Blocks one after the other, values between them used again later. */
function network(wrap: Wrap): Tensor[] {
  const embedded = take(table, ids);
  const [first, passed, side] = wrap(block, [x, embedded]) as [Tensor, Tensor, Tensor];
  const between = tanh(matmul(first, w));
  const [second] = wrap(block, [between, add(passed, exp(between))]) as [Tensor];
  const [left, right] = split(second, 2, 2) as [Tensor, Tensor];
  return [mul(add(left, right), 2), add(side, between)];
}

/** A segment that holds a segment. */
const nested: Wrap = (fn, xs) => recompute((...inner) => recompute((...innermost) => fn(...innermost), inner).map((y) => mul(y, 1.5)), xs);
const nestedPlain: Wrap = (fn, xs) => fn(...xs).map((y) => mul(y, 1.5));

function withGradients(outputs: readonly Tensor[]): Program {
  const loss = outputs.map((y) => sum(mul(y, y))).reduce((a, b) => add(a, b));
  const found = gradients(loss, [x, w, gamma, table]);
  return program(Object.fromEntries([...outputs, ...found].map((tensor, i) => [`y${i}`, tensor])));
}

const draw = (stream: string, count: number): Float64Array => normal({ seed: 3, stream, indices: [] }, count).map(Math.fround);
const inputs = { x: draw("x", 40), w: draw("w", 16), gamma: draw("gamma", 4), table: draw("table", 28), ids: Float64Array.of(0, 1, 1, 6, 3, 3, 3, 2, 0, 5) };

describe("recomputation", () => {
  it.each<[string, Wrap, Wrap]>([
    ["one level", recompute, plain],
    ["nested", nested, nestedPlain],
  ])("changes neither results nor gradients: %s", async (_, wrap, same) => {
    const [segmented, ordinary] = [withGradients(network(wrap)), withGradients(network(same))];
    const exact = await runReference(ordinary, inputs);
    const alternatives = [await runReference(segmented, inputs), await runReference(simplify(segmented), inputs)];
    for (const { name } of ordinary.outputs) {
      for (const result of alternatives) expect(difference(result[name]!.data, exact[name]!.data), name).toBeLessThan(1e-13);
    }
    const actual = await runOnnx(segmented, inputs);
    for (const { name } of ordinary.outputs) expect(difference(actual[name]!.data, exact[name]!.data), name).toBeLessThan(1e-4);
  });

  it("reaches outside inputs and trainable weights inside a segment", async () => {
    const found = gradients(sum(recompute((v) => [mul(v, gamma)], [input("v", [4])])[0]!), [gamma]);
    const result = await runReference(program({ d: found[0]! }), { v: Float64Array.of(1, 2, 3, 4), gamma: new Float64Array(4) });
    expect(result["d"]!.data).toEqual(Float64Array.of(1, 2, 3, 4));
  });

  it("can be differentiated twice", async () => {
    const v = input("v", [2]);
    const once = gradients(sum(recompute((u) => [mul(exp(mul(u, 2)), u)], [v])[0]!), [v])[0]!;
    const twice = gradients(sum(once), [v])[0]!;
    const { d } = await runReference(program({ d: twice }), { v: Float64Array.of(0, 0.5) });
    // (v e^{2v})'' = (4 + 4v) e^{2v}
    expect(difference(d!.data, [4, 6 * Math.E])).toBeLessThan(1e-14);
  });

  it("survives simplification: the attention is in the graph once forwards and once more for each backward pass", () => {
    const count = (traced: Program, type: RegExp): number =>
      onnxNodeTypes(encodeProgram(traced, { provider: "cpu", convInputGradient: "flip" }).model).filter((name) => type.test(name)).length;
    const [segmented, ordinary] = [withGradients(network(recompute)), withGradients(network(plain))];
    expect(count(ordinary, /LayerNormalization/)).toBe(2);
    expect(count(segmented, /LayerNormalization/)).toBe(4);
    // Values between segments are not recomputed, however many segments follow: tanh appears once.
    expect(count(segmented, /^Tanh$/)).toBe(1);
  });

  it("keeps only what leaves the segment: its inner values are not operands of the backward pass", () => {
    const v = input("v", [2]);
    const y = recompute((u) => [exp(tanh(u))], [v])[0]!;
    const [d] = gradients(sum(y), [v]);
    const backward = d!.node;
    expect(backward.operator.name).toBe("segment");
    expect(backward.inputs[0]).toBe(v);
    expect(backward.inputs.length).toBe(2);
  });
});
