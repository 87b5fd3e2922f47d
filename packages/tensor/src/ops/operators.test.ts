import { describe, expect, it } from "vitest";
import { sizeOf } from "../shape.ts";
import { difference } from "../testing/difference.ts";
import { onnxNodeTypes } from "../testing/onnx-node-types.ts";
import { applyRow, directionOf, firstOrder, sampleRow, type ScalarProgram, secondOrder, wholeProgram } from "../testing/operator-program.ts";
import type { OperatorRow } from "../testing/operator-row.ts";
import { operatorTable } from "../testing/operator-table.ts";
import { runEncoded, runReference } from "../testing/run-program.ts";
import { stopGradientOperator } from "./elementwise.ts";
import { operators } from "./operators.ts";

/** Tested apart: leaves in backends/weights.test.ts, segments in ops/segment.test.ts. */
const ELSEWHERE = new Set(["input", "weight", "segment"]);

const rows = operatorTable.map((row) => ({ name: `${row.operator.name}: ${row.title}`, row }));

const scalarOf = async ({ loss }: ScalarProgram, inputs: Record<string, Float64Array>): Promise<number> => (await runReference(loss, inputs))["loss"]!.data[0]!;

/** Directional derivative in one input by fourth-order central differences. */
async function numericDerivative(scalar: ScalarProgram, inputs: Record<string, Float64Array>, name: string, direction: Float64Array): Promise<number> {
  const h = 1e-3;
  const at = (steps: number): Promise<number> => scalarOf(scalar, { ...inputs, [name]: inputs[name]!.map((x, i) => x + steps * h * direction[i]!) });
  const [far, near, nearBack, farBack] = [await at(2), await at(1), await at(-1), await at(-2)];
  return (8 * (near - nearBack) - (far - farBack)) / (12 * h);
}

async function checkGradients(row: OperatorRow, scalars: readonly ScalarProgram[]): Promise<void> {
  const inputs = sampleRow(row);
  for (const scalar of scalars) {
    const found = await runReference(scalar.gradients, inputs);
    for (const index of scalar.wrt) {
      const raw = directionOf(row, index);
      const length = Math.hypot(...raw);
      const direction = raw.map((v) => (length > 0 ? v / length : 0));
      const gradient = found[`d${index}`]!;
      expect(gradient.shape).toEqual(row.inputs[index]!.shape);
      const exact = direction.reduce((total, d, i) => total + d * gradient.data[i]!, 0);
      const numeric = await numericDerivative(scalar, inputs, `x${index}`, direction);
      expect(Math.abs(exact - numeric), `input ${index}: ${exact} by rule, ${numeric} by differences`).toBeLessThan(1e-6 * Math.max(1, Math.abs(numeric)));
    }
  }
}

describe("the list of operators", () => {
  it("has unique names", () => {
    const names = operators.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(operators.map((operator) => ({ name: operator.name, operator })))("holds $name whole: a row, a derivative or a reason, ONNX, reference", ({ name, operator }) => {
    expect(ELSEWHERE.has(name) || operatorTable.some((row) => row.operator === operator)).toBe(true);
    const { derivative } = operator;
    if ("notDifferentiable" in derivative) expect(derivative.notDifferentiable.length).toBeGreaterThan(5);
    else expect(derivative.rule).toBeTypeOf("function");
    expect(operator.onnx).toBeTypeOf("function");
    expect(operator.reference).toBeTypeOf("function");
  });

  it("covers every row of the table", () => {
    expect(operatorTable.filter(({ operator }) => !operators.includes(operator))).toEqual([]);
  });
});

describe("an operator's float64 reference", () => {
  it.each(rows)("fills the inferred shapes: $name", ({ row }) => {
    const { ys } = applyRow(row);
    const inputs = sampleRow(row);
    const operands = row.inputs.map(({ shape }, i) => ({ shape, data: inputs[`x${i}`]! }));
    const results = row.operator.reference(operands, row.attributes, ys);
    expect(results.map((data) => data.length)).toEqual(ys.map(({ shape }) => sizeOf(shape)));
  });
});

describe("an operator's derivative", () => {
  const differentiable = rows.filter(({ row }) => row.inputs.some(({ dtype }) => dtype === "float32"));

  // stopGradient's derivative is not the slope: that is what it is for.
  it.each(differentiable.filter(({ row }) => row.operator !== stopGradientOperator))("is the slope of the reference: $name", ({ row }) => checkGradients(row, firstOrder(row)));

  it.each(differentiable)("has itself a derivative: $name", ({ row }) => checkGradients(row, secondOrder(row)));
});

describe("onnxruntime", () => {
  const variants = [
    { provider: "cpu", convInputGradient: "flip" },
    { provider: "cpu", convInputGradient: "transpose" },
    { provider: "webgpu", convInputGradient: "flip" },
  ] as const;

  it.each(rows)("computes values and gradients as the float64 reference: $name", async ({ row }) => {
    const traced = wholeProgram(row);
    const inputs = sampleRow(row);
    const exact = await runReference(traced, inputs);
    for (const options of variants) {
      if (options.convInputGradient === "transpose" && !row.operator.name.startsWith("conv")) continue;
      const { model, outputs } = await runEncoded(traced, inputs, options);
      if (options.provider === "webgpu") {
        // Kernels that onnxruntime's WebGPU provider lacks: the graph would be cut into pieces that run on the CPU.
        expect(onnxNodeTypes(model).filter((type) => /FusedMatMul$|^Sign$|^OneHot$|^Sum$|^IsNaN$/.test(type))).toEqual([]);
      }
      for (const { name, tensor } of traced.outputs) {
        expect(outputs[name]!.shape, `shape of ${name}`).toEqual(tensor.shape);
        const error = difference(outputs[name]!.data, exact[name]!.data);
        expect(error, `${name} of the ${options.provider} graph (${options.convInputGradient})`).toBeLessThan(tensor.dtype === "float32" ? 3e-6 : 1e-12);
      }
    }
  });
});
