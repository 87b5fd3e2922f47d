import { describe, expect, it } from "vitest";
import { program } from "../program.ts";
import { normal } from "../random.ts";
import { type Shape, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { difference } from "../testing/difference.ts";
import { runOnnx, runReference } from "../testing/run-program.ts";
import { conv2d, convTranspose2d } from "./convolution.ts";
import { mul } from "./elementwise.ts";
import { input } from "./leaves.ts";
import { groupNorm, layerNorm } from "./normalization.ts";
import { sum } from "./reductions.ts";
import { resize2d } from "./resize.ts";
import { expand, flip, pad, reshape, slice, split, squeeze, transpose, unsqueeze } from "./shaping.ts";

const draw = (stream: string, shape: Shape): Float64Array => normal({ seed: 2, stream, indices: [] }, sizeOf(shape)).map(Math.fround);

/** Values in float64, after checking that onnxruntime agrees. */
async function evaluate(y: Tensor): Promise<ArrayLike<number>> {
  const traced = program({ y });
  const inputs = Object.fromEntries(traced.inputs.map(({ name, tensor }) => [name, draw(name, tensor.shape)]));
  const exact = (await runReference(traced, inputs))["y"]!.data;
  expect(difference((await runOnnx(traced, inputs))["y"]!.data, exact)).toBeLessThan(1e-5);
  return exact;
}

describe("the transposed convolution", () => {
  it.each([
    { stride: 1, padding: 1, outputPadding: 0, groups: 1 },
    { stride: 2, padding: 1, outputPadding: 1, groups: 1 },
    { stride: 2, padding: 0, outputPadding: 0, groups: 2 },
    { stride: 3, padding: 1, outputPadding: 2, groups: 2 },
  ])("is the adjoint of the convolution: $stride, $padding, $outputPadding, $groups", async ({ outputPadding, ...options }) => {
    const [y, w] = [input("y", [2, 4, 5, 4]), input("w", [4, 3, 3, 3])];
    const up = convTranspose2d(y, w, { ...options, outputPadding });
    const size = (n: number): number => (n - 1) * options.stride + 3 - 2 * options.padding + outputPadding;
    expect(up.shape).toEqual([2, 3 * options.groups, size(5), size(4)]);
    const x = input("x", up.shape);
    const [left, right] = [await evaluate(sum(mul(up, x))), await evaluate(sum(mul(y, conv2d(x, w, options))))];
    expect(left[0]).toBeCloseTo(right[0]!, 10);
  });

  it("refuses an output padding that the stride cannot explain", () => {
    expect(() => convTranspose2d(input("y", [1, 1, 3, 3]), input("w", [1, 1, 3, 3]), { stride: 2, outputPadding: 2 })).toThrow("convTranspose2d: expected");
  });
});

describe("normalisations", () => {
  it("give each group mean beta and standard deviation gamma", async () => {
    const [ones, zeros] = [input("one", [6]), input("zero", [6])];
    const x = input("x", [2, 6, 3, 3]);
    const traced = program({ y: groupNorm(x, 3, ones, zeros, 0) });
    const { y } = await runReference(traced, { x: draw("x", x.shape), one: new Float64Array(6).fill(2), zero: new Float64Array(6).fill(5) });
    for (let group = 0; group < 6; group++) {
      const values = Float64Array.from(y!.data).subarray(group * 18, (group + 1) * 18);
      const mean = values.reduce((a, b) => a + b, 0) / 18;
      expect(mean).toBeCloseTo(5, 10);
      expect(Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / 18)).toBeCloseTo(2, 10);
    }
  });

  it("agree: a group of all channels of one pixel is a layer norm of the channels", async () => {
    const [x, gamma, beta] = [input("x", [4, 6]), input("gamma", [6]), input("beta", [6])];
    expect(difference(await evaluate(groupNorm(x, 1, gamma, beta, 1e-5)), await evaluate(layerNorm(x, gamma, beta, 1e-5)))).toBeLessThan(1e-14);
  });

  it("refuse groups that do not divide the channels", () => {
    expect(() => groupNorm(input("x", [1, 6, 2]), 4, input("g", [6]), input("b", [6]), 1e-5)).toThrow("expected channels divisible by 4 groups, got 6");
  });
});

describe("resizing", () => {
  it("is a product with rows and columns", async () => {
    const [x, rows, cols] = [input("x", [2, 3, 4, 5]), input("rows", [2, 4]), input("cols", [7, 5])];
    const y = resize2d(x, rows, cols);
    expect(y.shape).toEqual([2, 3, 2, 7]);
    const values = await evaluate(y);
    const [image, r, c] = [draw("x", x.shape), draw("rows", [2, 4]), draw("cols", [7, 5])];
    let expected = 0;
    for (let i = 0; i < 4; i++) for (let j = 0; j < 5; j++) expected += r[1 * 4 + i]! * image[20 * 5 + i * 5 + j]! * c[6 * 5 + j]!;
    expect(values[5 * 14 + 7 + 6]).toBeCloseTo(expected, 12);
  });
});

describe("functions of shape", () => {
  const x = input("x", [2, 3]);

  it("do nothing when there is nothing to do", () => {
    const same = [reshape(x, [-1, 3]), expand(x, [2, 3]), transpose(x, [0, 1]), slice(x, [0, 0], [2, 3]), pad(x, [0, 0], [0, 0]), split(x, 1, 1)[0]];
    for (const y of same) expect(y).toBe(x);
  });

  it("infer, insert and remove axes", () => {
    expect(reshape(x, [3, -1]).shape).toEqual([3, 2]);
    expect(unsqueeze(x, -1).shape).toEqual([2, 3, 1]);
    expect(unsqueeze(x, 0).shape).toEqual([1, 2, 3]);
    expect(squeeze(unsqueeze(x, 1), 1).shape).toEqual([2, 3]);
    expect(split(x, -1, 3).map(({ shape }) => shape)).toEqual([[2, 1], [2, 1], [2, 1]]);
  });

  it("flip", async () => {
    const values = draw("x", [2, 3]);
    expect(Array.from(await evaluate(flip(x, [0, 1])))).toEqual(Array.from(values).toReversed());
  });

  it.each<[string, () => unknown, string]>([
    ["a permutation of too few axes", () => transpose(input("x", [2, 3, 4]), [0, 1]), "transpose: expected a permutation of the 3 axes"],
    ["a repeated axis", () => transpose(x, [0, 0]), "transpose: expected a permutation"],
    ["padding of too few axes", () => pad(x, [0], [0]), "pad: expected 2 non-negative widths"],
    ["negative padding", () => pad(x, [0, -1], [0, 0]), "pad: expected 2 non-negative widths"],
    ["a slice beyond the end", () => slice(x, [0, 0], [2, 4]), "slice: expected 0 ≤ start ≤ end ≤ size"],
    ["pieces of unequal size", () => split(x, 1, 2), "split: expected axis 1 of [2,3] to divide by 2"],
    ["an axis that is not there", () => sum(x, 2), "sum: expected an axis in [-2, 2), got 2"],
    ["an axis of another size", () => squeeze(x, 1), "squeeze: expected size 1 on axis 1"],
    ["an expansion that shrinks", () => expand(x, [3]), "expand: expected a shape that [2,3] broadcasts to"],
  ])("refuse %s", (_, build, message) => {
    expect(build).toThrow(message);
  });
});
