import { describe, expect, it } from "vitest";
import { program } from "../program.ts";
import { applyRow, sampleRow } from "../testing/operator-program.ts";
import { runEncoded, runReference } from "../testing/run-program.ts";
import { specialRows } from "../testing/special-rows.ts";

/** Equal as float32 numbers: NaN with NaN, infinities by sign, others to a few units in the last place or 2e-8 (onnxruntime's sigmoid is 0 below −18). */
function agree(actual: number, expected: number): boolean {
  const rounded = Math.fround(expected);
  if (Number.isNaN(rounded) || !Number.isFinite(rounded)) return Object.is(actual, rounded);
  return Math.abs(actual - rounded) <= 1e-6 * Math.abs(rounded) + 2e-8;
}

describe("zeros, infinities, NaN and large numbers", () => {
  it.each(specialRows.map((row) => ({ name: `${row.operator.name}: ${row.title}`, row })))(
    "give in onnxruntime what they give in the reference: $name",
    async ({ row }) => {
      const { xs, ys } = applyRow(row);
      const traced = program({ y: ys[0]! }, xs.map((tensor, i) => ({ name: `x${i}`, tensor })));
      const inputs = sampleRow(row);
      const exact = (await runReference(traced, inputs))["y"]!.data;
      for (const provider of ["cpu", "webgpu"] as const) {
        const { data } = (await runEncoded(traced, inputs, { provider, convInputGradient: "flip" })).outputs["y"]!;
        const wrong = Array.from(exact, (expected, i) => ({ i, expected, actual: data[i]! })).filter(({ expected, actual }) => !agree(actual, expected));
        expect(wrong, `inputs ${JSON.stringify(Object.values(inputs).map((x) => Array.from(x, String)))}`).toEqual([]);
      }
    },
  );
});
