import { constant, gradients, input, program } from "@tastemaker/tensor";
import { expect, it } from "vitest";
import { oracleBackend } from "../platform/runtime.ts";
import { rebelLoss } from "./rebel.ts";

it("regresses the scaled difference of two log-ratios on that of the rewards", async () => {
  const [a, b] = [input("a", [2]), input("b", [2])];
  const rewards = { a: constant([1, 0.5], [2]), b: constant([-1, 0.5], [2]) };
  const { loss, residual } = rebelLoss({ eta: 0.5 }, { a, b }, rewards);
  const [slopeA, slopeB] = gradients(loss, [a, b]);
  const executable = await oracleBackend().compile(program({ loss, residual, slopeA: slopeA!, slopeB: slopeB! }));
  const run = async (x: readonly number[], y: readonly number[]): Promise<Record<string, number[]>> =>
    Object.fromEntries(Object.entries(await executable.run({ a: Float64Array.from(x), b: Float64Array.from(y) })).map(([name, { data }]) => [name, Array.from(data, Number)]));
  // Equal policies miss the whole difference of the rewards: 2 and 0.
  expect(await run([0, 0], [0, 0])).toEqual({ loss: [2], residual: [-2, 0], slopeA: [-4, 0], slopeB: [4, -0] });
  // log ρ_a − log ρ_b = η (r_a − r_b) is what it wants.
  expect(await run([0.75, 0.25], [-0.25, 0.25])).toMatchObject({ loss: [0], residual: [0, 0] });
  expect((await run([2, 0], [0, 1]))["loss"]).toEqual([4]);
  await executable.dispose();
});
