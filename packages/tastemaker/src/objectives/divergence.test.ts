import { readFileSync } from "node:fs";

import { type Backend, type Tensor, gradients, input, normal, onnxBackend, program, referenceBackend, sum } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";

import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { fisherDivergence, hellingerDivergence, jsDivergence, klDivergence, sampledJsDivergence } from "./divergence.ts";
import { gaussHermite } from "./gauss-hermite.ts";

const reference = referenceBackend(() => new Float64Array());
const runtime = onnxBackend(ort, { threads: 1 });

/** Values and slopes of a function of s. */
async function evaluate(backend: Backend, f: (s: Tensor) => Tensor, s: readonly number[]): Promise<{ value: number[]; slope: number[] }> {
  const leaf = input("s", [s.length]);
  const value = f(leaf);
  const executable = await backend.compile(program({ value, slope: gradients(sum(value), [leaf])[0]! }));
  const result = await executable.run({ s: Float64Array.from(s) });
  await executable.dispose();
  return { value: [...result["value"]!.data], slope: [...result["slope"]!.data] };
}

const golden = sharedPath("golden", "diffusion", "divergences.json");

describe("Gauss–Hermite quadrature", () => {
  it("has the moments of the normal distribution", () => {
    const { nodes, weights } = gaussHermite(64);
    const moment = (k: number): number => nodes.reduce((total, z, i) => total + weights[i]! * z ** k, 0);
    expect([0, 1, 2, 3, 4, 6, 8, 10].map(moment).map((x) => Number(x.toPrecision(12)))).toEqual([1, expect.closeTo(0, 12), 1, expect.closeTo(0, 11), 3, 15, 105, 945]);
  });
});

describe("divergences", () => {
  it("have the specification's values", async () => {
    const s = [0.5, 1, 2, 3, 5].map((d) => d * d);
    const rounded = async (f: (s: Tensor) => Tensor): Promise<number[]> => (await evaluate(reference, f, s)).value.map((x) => Number(x.toFixed(7)));
    expect(await rounded(klDivergence)).toEqual([0.125, 0.5, 2, 4.5, 12.5]);
    expect(await rounded(hellingerDivergence)).toEqual([0.0307668, 0.1175031, 0.3934693, 0.6753475, 0.9560631]);
    const js = (await evaluate(reference, jsDivergence, s)).value;
    for (const [i, expected] of [0.0303113, 0.1114215, 0.3368308, 0.5267773, 0.6759426].entries()) expect(Math.abs(js[i]! - expected)).toBeLessThan(8e-7);
  });

  it.skipIf(golden === undefined)("agree with the golden table in float64 and, relatively, in float32", async () => {
    interface Row { s: number; kl: number; kl_slope: number; hellinger: number; hellinger_slope: number; js: number; js_slope: number; js_gauss_hermite_64: number; js_slope_gauss_hermite_64: number }
    const { rows } = JSON.parse(readFileSync(golden!, "utf8")) as { rows: Row[] };
    const s = rows.map((row) => row.s);
    for (const [backend, relative, absolute] of [[reference, 1e-11, 5e-15], [runtime, 4e-6, 0]] as const) {
      for (const [f, value, slope] of [
        [klDivergence, "kl", "kl_slope"],
        [hellingerDivergence, "hellinger", "hellinger_slope"],
        [jsDivergence, backend === reference ? "js_gauss_hermite_64" : "js", "js_slope_gauss_hermite_64"],
      ] as const) {
        const got = await evaluate(backend, f, s);
        for (const [i, row] of rows.entries()) {
          // Where the quadrature itself is off by up to 7e-7, float32 is compared with the quadrature's own value.
          const wanted = value === "js" && row.s > 1 ? row.js_gauss_hermite_64 : row[value];
          expect(Math.abs(got.value[i]! - wanted), `${value}(${row.s}) on ${backend.name}`).toBeLessThanOrEqual(relative * wanted + absolute);
          expect(Math.abs(got.slope[i]! - row[slope]), `${slope}(${row.s}) on ${backend.name}`).toBeLessThanOrEqual(relative * 0.5);
        }
      }
    }
  });

  it("have finite slopes and the value 0 at s = 0", async () => {
    for (const backend of [reference, runtime]) {
      for (const [f, slope] of [[klDivergence, 0.5], [hellingerDivergence, 0.125], [jsDivergence, 0.125], [(x: Tensor) => fisherDivergence(x, 0.5), 4]] as const) {
        const got = await evaluate(backend, f, [0]);
        expect(Math.abs(got.value[0]!)).toBeLessThan(1e-15);
        expect(got.slope[0]).toBeCloseTo(slope, 6);
      }
    }
  });

  it("stay finite and bounded where the two steps have nothing in common", async () => {
    for (const backend of [reference, runtime]) {
      const js = await evaluate(backend, jsDivergence, [100, 1e4, 1e8]);
      const hellinger = await evaluate(backend, hellingerDivergence, [100, 1e4, 1e8]);
      for (const x of js.value) expect(x).toBeCloseTo(Math.LN2, 5);
      for (const x of hellinger.value) expect(x).toBeCloseTo(1, 5);
      for (const x of [...js.slope, ...hellinger.slope]) expect(Math.abs(x)).toBeLessThan(1e-5);
    }
  });

  it("are estimated by samples without bias, with either reduction", async () => {
    const [samples, numbers, distance] = [4000, 6, 1.5];
    const noise = normal({ seed: 3, stream: "test/divergence", indices: [] }, samples * numbers);
    for (const reduction of ["sum", "mean"] as const) {
      const delta = input("delta", [1, numbers, 1, 1]);
      const s = input("s", [1]);
      const executable = await reference.compile(program({ js: sampledJsDivergence(s, delta, input("noise", [samples, 1, numbers, 1, 1]), reduction), exact: jsDivergence(s) }));
      // |δ| is d for a sum and d√D for a mean.
      const scale = (reduction === "sum" ? distance : distance * Math.sqrt(numbers)) / Math.sqrt(numbers);
      const result = await executable.run({ delta: new Float64Array(numbers).fill(scale), s: Float64Array.of(distance ** 2), noise });
      expect(Math.abs(result["js"]!.data[0]! - result["exact"]!.data[0]!)).toBeLessThan(0.03);
    }
  });
});
